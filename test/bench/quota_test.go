package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/keepin/keepin/test/lambdahost"
)

// period is the time slice of a quota. Lambda's own is not published; a short
// one rounds up less.
const period = 20 * time.Millisecond

// quota bounds the CPU of the processes that it starts, by a control group of
// its own. It needs root.
type quota struct {
	dir string
	v2  bool
}

// newQuota makes one; the error says why there can be none here.
func newQuota(t testing.TB) (*quota, error) {
	t.Helper()
	q := &quota{dir: "/sys/fs/cgroup/cpu/keepin-bench-" + strconv.Itoa(os.Getpid())} // version 1
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		q.v2, q.dir = true, "/sys/fs/cgroup/keepin-bench-"+strconv.Itoa(os.Getpid())
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0); err != nil {
			return nil, fmt.Errorf("no CPU quota can be set: %w", err)
		}
	}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		return nil, fmt.Errorf("no CPU quota can be set: %w", err)
	}
	t.Cleanup(func() { _ = os.Remove(q.dir) })
	return q, nil
}

// set gives the group what a function of so many MB has: Lambda gives a whole
// CPU at 1,769 MB. 0 is no bound.
//
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
func (q *quota) set(t testing.TB, mb int) {
	t.Helper()
	share, unbounded := strconv.Itoa(mb*int(period.Microseconds())/1769), "-1"
	if q.v2 {
		unbounded = "max"
	}
	if mb == 0 {
		share = unbounded
	}
	slice := strconv.Itoa(int(period.Microseconds()))
	if q.v2 {
		must(t, os.WriteFile(filepath.Join(q.dir, "cpu.max"), []byte(share+" "+slice), 0))
		return
	}
	must(t, os.WriteFile(filepath.Join(q.dir, "cpu.cfs_period_us"), []byte(slice), 0))
	must(t, os.WriteFile(filepath.Join(q.dir, "cpu.cfs_quota_us"), []byte(share), 0))
}

// start starts cmd in the group from its first instruction on.
func (q *quota) start(cmd *exec.Cmd) error {
	if q.v2 {
		dir, err := os.Open(q.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return cmd.Start()
	}
	// A child is born into the group of the thread that makes it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := []byte(strconv.Itoa(syscall.Gettid()))
	if err := os.WriteFile(filepath.Join(q.dir, "tasks"), thread, 0); err != nil {
		return err
	}
	err := cmd.Start()
	if back := os.WriteFile("/sys/fs/cgroup/cpu/tasks", thread, 0); back != nil && err == nil {
		err = back
	}
	return err
}

// coldTotals is T2: init and the first answer together. Lambda lets an init
// have the CPU that the machine has, whatever the function's memory, and only
// then holds it to its share: so does this.
func coldTotals(t *testing.T, l *lambdas) []row {
	small := row{id: "T2", what: "cold total, init + first answer, validate / no-op: 128 MB", budget: 1.7}
	large := row{id: "T2", what: "cold total, init + first answer, validate / no-op: 512 MB", budget: 2.4}
	q, err := newQuota(t)
	if err != nil {
		small.what, large.what = small.what+": "+err.Error(), large.what+": "+err.Error()
		return []row{small, large}
	}
	total := func(s lambdahost.Spec, mb int) time.Duration {
		s.Exec = q.start
		q.set(t, 0)
		f := lambdahost.NewFunction(s)
		defer f.Close()
		init, err := f.Start()
		must(t, err)
		q.set(t, mb)
		took := invoke(t, f, l.signedIn, 200).Took
		q.set(t, 0)
		return init + took
	}
	for range rounds {
		for _, r := range []*row{&small, &large} {
			mb := 128
			if r == &large {
				mb = 512
			}
			r.ratios = append(r.ratios, quickest(9, func() time.Duration { return total(l.validate, mb) }, func() time.Duration { return total(l.noop, mb) }))
		}
	}
	return []row{small, large}
}
