//go:build !linux

package output

import "os"

func forget(*os.File, int64, int64) {}
