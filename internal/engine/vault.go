package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// vault keeps a connection's refresh token, sealed, in the state of the log.
type vault struct {
	log *pagelog.Log
	key string
}

func newVault(log *pagelog.Log, connection string) fetch.Vault {
	return &vault{log: log, key: "refresh/" + connection}
}

func (v *vault) Load(ctx context.Context) ([]byte, error) {
	sealed, _, err := v.log.State(ctx, v.key)
	return sealed, err
}

// Store writes over whatever is there: of two that sign in at the same time,
// the API has accepted one, and that is the one that stores.
func (v *vault) Store(ctx context.Context, sealed []byte) error {
	for {
		_, rev, err := v.log.State(ctx, v.key)
		if err != nil {
			return err
		}
		_, err = v.log.PutState(ctx, v.key, sealed, rev)
		if !errors.Is(err, pagelog.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// Vaults are those of a configuration's connections, for a process that does
// not collect.
type Vaults struct{ log *pagelog.Log }

// OpenVaults opens the log for them. A data_dir that another process has open
// is refused with pagelog.ErrLocked.
func OpenVaults(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*Vaults, error) {
	log, err := openLog(ctx, cfg, logger)
	if err != nil {
		return nil, fmt.Errorf("open what is kept for sign-ins: %w", err)
	}
	return &Vaults{log}, nil
}

// Of is the vault of a connection.
func (v *Vaults) Of(connection string) fetch.Vault { return newVault(v.log, connection) }

// Close closes the log.
func (v *Vaults) Close() error { return v.log.Close() }

func openLog(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*pagelog.Log, error) {
	return pagelog.Open(ctx, pagelog.Options{
		Dir:      filepath.Join(cfg.DataDir, "log"),
		URL:      cfg.Log.URL.Reveal(),
		MaxBytes: cfg.Log.MaxBytes,
		Logger:   logger,
	})
}
