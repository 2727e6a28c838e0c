//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package bolt

import "os"

// unlock: elsewhere the lock goes with the file.
func unlock(*os.File) {}
