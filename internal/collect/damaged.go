package collect

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// StateDamaged is the state of a feed whose stored position can't be read; see
// DamagedError.
const StateDamaged State = "damaged"

// ResetDamaged is Reset for a feed that Open refuses as damaged.
func ResetDamaged(ctx context.Context, log Log, feed pagelog.Feed) error {
	f := &Feed{opts: Options{Feed: feed}}
	state := savedState{Position: Position{Rev: 1}}
	err := log.Headers(ctx, feed, func(p pagelog.Page) error {
		state.Position.ForgetTo = max(state.Position.ForgetTo, p.Seq)
		return nil
	})
	for _, name := range []pagelog.Lane{pagelog.Live, pagelog.Revisit, pagelog.Backfill, pagelog.Push, pagelog.Snapshot} {
		if err != nil {
			break
		}
		err = putFresh(ctx, log, newLane(f, name).stateKey(), state)
	}
	if err != nil {
		return fmt.Errorf("reset feed %s: %w", feed, err)
	}
	return nil
}

// putFresh replaces a state entry without reading what is in it.
func putFresh(ctx context.Context, log Log, key string, state savedState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, rev, err := log.State(ctx, key)
	if err != nil {
		return err
	}
	_, err = log.PutState(ctx, key, data, rev)
	return err
}
