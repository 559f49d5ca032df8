package pagelog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

var killFeeds = []Feed{{"c", "a"}, {"c", "b"}}

// killPage is what a child writes as the page of that number: now and then one
// that is kept in parts.
func killPage(f Feed, number int) Page {
	p := page(f, Live, number, 20, 800)
	if number%10 == 7 {
		big := noise(2, 900_000)
		p.Records, p.Hashes = big.Records, big.Hashes
	}
	return p
}

// appendForever is the child: it appends, reads, acknowledges and keeps state,
// and says on stdout what has been committed, until it is killed.
func appendForever(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	l, err := Open(ctx, Options{Dir: dir, Logger: quiet})
	fail(err)
	var mu sync.Mutex
	say := func(what string, n ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(append([]any{what}, n...)...)
	}
	for i, f := range killFeeds {
		last, _, err := l.Last(ctx, f, Live)
		fail(err)
		number := 0
		if last.Seq > 0 {
			_, err = fmt.Sscanf(string(last.Position), `{"page":%d}`, &number)
			fail(err)
		}
		_, rev, err := l.State(ctx, f.String())
		fail(err)
		go func() {
			after := last.Seq
			for {
				number++
				after, err = l.Append(ctx, killPage(f, number), after, after)
				fail(err)
				say("page", i, number, after)
				rev, err = l.PutState(ctx, f.String(), []byte(strconv.Itoa(number)), rev)
				fail(err)
				say("state", i, number)
			}
		}()
	}
	r, err := l.Reader(ctx, "r")
	fail(err)
	for {
		ds, err := r.Next(ctx, 5, time.Minute)
		fail(err)
		if len(ds) > 0 {
			fail(ds[len(ds)-1].Ack(ctx))
			say("acked", ds[len(ds)-1].Page.Seq)
		}
	}
}

// TestKill kills a process in the middle of its work, again and again. What it
// called committed is there, whole, and so is what comes before it.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	numbers, states := make([]int, len(killFeeds)), make([]int, len(killFeeds)) // the last committed
	var acked uint64
	for round := range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), "PAGELOG_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 40+round*37 {
				cmd.Process.Kill() // what it still says counts
			}
			var what string
			var a, b uint64
			fmt.Sscan(lines.Text(), &what, &a, &b)
			switch what {
			case "page":
				numbers[a] = int(b)
			case "state":
				states[a] = int(b)
			case "acked":
				acked = a
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("child: %v", err)
		}

		l := open(t, dir)
		next := make([]int, len(killFeeds))
		r := openReader(t, l, "whole")
		for _, d := range readAll(t, r) {
			i := 0
			if d.Page.Feed != killFeeds[0] {
				i = 1
			}
			next[i]++
			samePage(t, d.Page, killPage(killFeeds[i], next[i]), false)
		}
		for i, f := range killFeeds {
			if next[i] < numbers[i] || next[i] > numbers[i]+1 {
				t.Errorf("round %d: %d pages, %d were committed", round, next[i], numbers[i])
			}
			if n := len(headers(t, l, f)); n != next[i] {
				t.Errorf("round %d: %d headers of %d", round, n, next[i])
			}
			data, _, err := l.State(t.Context(), f.String())
			if n, _ := strconv.Atoi(string(data)); n < states[i] || n > next[i] || err != nil {
				t.Errorf("round %d: state %q, %d was committed, %v", round, data, states[i], err)
			}
		}
		if pos, _, err := l.position(t.Context(), "r"); pos.Seq < acked || err != nil {
			t.Errorf("round %d: reader at %d, %d was committed, %v", round, pos.Seq, acked, err)
		}
		if err := l.DeleteReader(t.Context(), "whole"); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if numbers[0]+numbers[1] < 40 {
		t.Errorf("only %v pages were written", numbers)
	}
}
