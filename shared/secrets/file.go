package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keepin/keepin/shared/secret"
)

// maxFile is far more than any secret of keepin's.
const maxFile = 64 << 10

// File reads the secret in a file that nobody but its owner can read. Its
// errors say what to do; a missing file is fs.ErrNotExist.
func File(path string) func(context.Context) (secret.String, error) {
	return func(context.Context) (secret.String, error) {
		text, err := readFile(path)
		if err != nil {
			return secret.String{}, fmt.Errorf("read secret: %w", err)
		}
		return text, nil
	}
}

func readFile(path string) (secret.String, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.String{}, fmt.Errorf("%w: make it with mode 0600", err)
	}
	if err != nil {
		return secret.String{}, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: it cannot be exchanged meanwhile
	if err != nil {
		return secret.String{}, err
	}
	if !info.Mode().IsRegular() {
		return secret.String{}, fmt.Errorf("%s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return secret.String{}, fmt.Errorf("%s can be read or changed by other users (mode %04o): run chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return secret.String{}, err
	}
	if len(text) > maxFile {
		return secret.String{}, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return secret.New(string(text)), nil
}

// Make writes what value makes to a file that is not there yet, mode 0600, and
// its folder, mode 0700. It reports false and changes nothing when there is a
// file; of several processes that make one, exactly one does.
func Make(path string, value func() secret.String) (bool, error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("make secret: %w", err)
	}
	err := write(path, value(), os.Link) // fails where there is one, as a rename would not
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make secret: %w", err)
	}
	return true, nil
}

// Replace writes value to a file, mode 0600, in place of what is there. A
// reader, or a crash, meets the old file or the new one, never a part of one.
func Replace(path string, value secret.String) error {
	if err := write(path, value, os.Rename); err != nil {
		return fmt.Errorf("replace secret: %w", err)
	}
	return nil
}

// write writes a file beside path, makes it durable, and gives it its name.
func write(path string, value secret.String, name func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing there after a rename
	_, err = f.WriteString(value.Reveal() + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a new name durable. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
