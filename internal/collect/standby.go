package collect

import "context"

// StateStandby is the state of a feed that another process collects.
const StateStandby State = "standby"

// Standby notes that another process collects the feed. It must not be running.
func (f *Feed) Standby() {
	if f.Status().State != StatePaused {
		f.setState(StateStandby, "another trawl on the same log collects this connection")
	}
}

// Reload reads the positions and ids from the log again, for a feed that
// another process may have moved since. It must not be running.
func (f *Feed) Reload(ctx context.Context) error {
	f.running <- struct{}{}
	defer f.stopped()
	for _, l := range f.all() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := l.load(ctx); err != nil {
			return err
		}
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	f.known, f.whole, f.unlisted = ids{}, nil, unlisted{}
	f.unanswered = nil // whoever had the feed meanwhile did not wait for it
	if err := f.loadIDs(ctx, f.all()...); err != nil {
		return err
	}
	for _, l := range f.all() {
		l.publish()
	}
	f.mu.Lock()
	f.runs = f.live.saved.Runs
	f.mu.Unlock()
	f.resume()
	return nil
}
