package lambdahost

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slice is the time slice of a quota. Lambda's own is not published; a short
// one rounds up less.
const slice = 20 * time.Millisecond

// Quota bounds the CPU of the processes that it starts, by a control group of
// its own. It needs root.
type Quota struct {
	dir string
	v2  bool
}

// NewQuota makes one without a bound; the error says why there can be none here.
// It is to be closed when its processes have ended.
func NewQuota() (*Quota, error) {
	name := "keepin-" + rand.Text()[:8]
	q := &Quota{dir: "/sys/fs/cgroup/cpu/" + name} // version 1
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		q.v2, q.dir = true, "/sys/fs/cgroup/"+name
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0); err != nil {
			return nil, fmt.Errorf("no CPU quota can be set: %w", err)
		}
	}
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		return nil, fmt.Errorf("no CPU quota can be set: %w", err)
	}
	return q, nil
}

// Close removes the group.
func (q *Quota) Close() error { return os.Remove(q.dir) }

// Set gives the group what a function of so many MB has: Lambda gives a whole
// CPU at 1,769 MB. 0 is no bound.
//
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
func (q *Quota) Set(mb int) error {
	share, unbounded := strconv.Itoa(mb*int(slice.Microseconds())/1769), "-1"
	if q.v2 {
		unbounded = "max"
	}
	if mb == 0 {
		share = unbounded
	}
	period := strconv.Itoa(int(slice.Microseconds()))
	if q.v2 {
		return q.write("cpu.max", share+" "+period)
	}
	if err := q.write("cpu.cfs_period_us", period); err != nil {
		return err
	}
	return q.write("cpu.cfs_quota_us", share)
}

func (q *Quota) write(file, text string) error {
	return os.WriteFile(filepath.Join(q.dir, file), []byte(text), 0)
}

// Start starts cmd in the group from its first instruction on: a Spec's Exec.
func (q *Quota) Start(cmd *exec.Cmd) error {
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
	thread := strconv.Itoa(syscall.Gettid())
	if err := q.write("tasks", thread); err != nil {
		return err
	}
	err := cmd.Start()
	if back := os.WriteFile("/sys/fs/cgroup/cpu/tasks", []byte(thread), 0); back != nil && err == nil {
		err = back
	}
	return err
}

// CPU is what a process has used, to the nanosecond: the sum over its threads.
func CPU(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no CPU time of process %d", pid)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// PeakMemory is the most memory that a process has had resident, in MB of 10⁶
// bytes.
func PeakMemory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	var kb float64
	if _, err := fmt.Sscan(string(rest), &kb); err != nil {
		return 0, fmt.Errorf("no peak of process %d: %w", pid, err)
	}
	return kb * 1024 / 1e6, nil
}
