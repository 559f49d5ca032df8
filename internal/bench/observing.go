package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// compareObserving runs trawl and a trawl that does not observe the matrix by
// turns, and compares their CPU time. Other work on the machine slows both down,
// so pairs are compared, and of their ratios the median is what counts.
func compareObserving(dir, self, size string, rounds int) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("-records: %w", err)
	}
	with, err := build(dir, "trawl")
	if err != nil {
		return err
	}
	without, err := build(dir, "unobserved", "-tags", "unobserved")
	if err != nil {
		return err
	}
	url, stop, err := startServer(self, n)
	if err != nil {
		return err
	}
	defer stop()
	var cpu [2][]time.Duration
	var ratios []float64
	for round := range rounds {
		for turn := range 2 {
			i := (round + turn) % 2 // who begins changes
			work := filepath.Join(dir, "work")
			u, err := runTrawl([]string{with, without}[i], work, url, n, "")
			if err != nil {
				return err
			}
			cpu[i] = append(cpu[i], u.cpu)
			if err := os.RemoveAll(work); err != nil {
				return fmt.Errorf("clean up: %w", err)
			}
		}
		a, b := cpu[0][round], cpu[1][round]
		ratios = append(ratios, a.Seconds()/b.Seconds()-1)
		fmt.Printf("%d records, CPU seconds: %.2f observing, %.2f not, %+.1f %%\n", n, a.Seconds(), b.Seconds(), 100*ratios[round])
	}
	slices.Sort(ratios)
	slices.Sort(cpu[0])
	slices.Sort(cpu[1])
	fmt.Printf("\nObserving costs %+.1f %% (median of pairs), %+.1f %% (least of each)\n", 100*ratios[len(ratios)/2], 100*(cpu[0][0].Seconds()/cpu[1][0].Seconds()-1))
	return nil
}
