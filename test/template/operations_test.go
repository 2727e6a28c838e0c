package template_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/telemetry"
)

// section are the tables' rows of docs/operations.md below a heading, cell by
// cell, without the tables' heads.
func section(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/operations.md has no %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) > 2 && !strings.HasPrefix(line, "|---") {
			rows = append(rows, cells)
		}
	}
	if len(rows) < 2 {
		t.Fatalf("docs/operations.md, %s: no table", heading)
	}
	return rows[1:]
}

// names are what stands between backquotes.
func names(cell string) (all []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// emf are the metrics that a pass writes, with their units.
func emf() (map[string]string, error) {
	var line bytes.Buffer
	if err := (telemetry.Pass{}).WriteEMF(&line, time.Time{}, "f"); err != nil {
		return nil, err
	}
	var out struct {
		AWS struct {
			CloudWatchMetrics []struct {
				Namespace string
				Metrics   []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	if err := json.Unmarshal(line.Bytes(), &out); err != nil {
		return nil, err
	}
	if all := out.AWS.CloudWatchMetrics; len(all) != 1 || all[0].Namespace != ownMetrics {
		return nil, fmt.Errorf("not the metrics of %s: %s", ownMetrics, line.Bytes())
	}
	units := map[string]string{}
	for _, m := range out.AWS.CloudWatchMetrics[0].Metrics {
		units[m.Name] = m.Unit
	}
	return units, nil
}

// alarms are the metrics that each alarm of a stack looks at, sorted.
func alarms(s stack) map[string][]string {
	all := map[string][]string{}
	for id, a := range s.of("AWS::CloudWatch::Alarm") {
		seen := map[string]bool{}
		if m, ok := a.Properties["MetricName"].(string); ok {
			seen[m] = true
		}
		for _, m := range list(a.Properties["Metrics"]) {
			if name, ok := at(m, "MetricStat", "Metric", "MetricName").(string); ok {
				seen[name] = true
			}
		}
		all[id] = slices.Sorted(maps.Keys(seen))
	}
	return all
}

// The page for operators names what the code emits, what the template alarms on
// and why an incident may be open: all of it, and nothing else.
func TestOperationsPageNamesWhatThereIs(t *testing.T) {
	var stack stack
	if err := json.Unmarshal(translated(t), &stack); err != nil {
		t.Fatal(err)
	}
	listed, alarmed := map[string]string{}, map[string]string{}
	for _, row := range section(t, "What a pass tells") {
		name := names(row[0])[0]
		listed[name] = row[1]
		if ids := names(row[3]); len(ids) > 0 {
			alarmed[ids[0]] = name
		}
	}
	own, err := emf()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(listed, own) {
		t.Errorf("metrics: the page has %v, the code %v", listed, own)
	}

	page := map[string][]string{}
	for _, row := range section(t, "When an alarm rings") {
		page[names(row[0])[0]] = slices.Sorted(slices.Values(names(row[1])))
	}
	want := alarms(stack)
	if !maps.EqualFunc(page, want, slices.Equal) {
		t.Errorf("alarms: the page has %v, the template %v", page, want)
	}
	wantOwn := map[string]string{}
	for id, looks := range want {
		if _, ok := own[looks[0]]; ok {
			wantOwn[id] = looks[0]
		}
	}
	if !maps.Equal(alarmed, wantOwn) {
		t.Errorf("alarms on keepin's own metrics: the page has %v, the template %v", alarmed, wantOwn)
	}

	var causes []string
	for _, row := range section(t, "Incidents") {
		causes = append(causes, names(row[0])[0])
	}
	code, err := os.ReadFile(filepath.Join(root, "shared/keeper/control.go"))
	if err != nil {
		t.Fatal(err)
	}
	var inCode []string
	for _, m := range regexp.MustCompile(`(?m)^\tcause\w+ += "([^"]+)"`).FindAllStringSubmatch(string(code), -1) {
		inCode = append(inCode, m[1])
	}
	if slices.Sort(causes); !slices.Equal(causes, slices.Sorted(slices.Values(inCode))) {
		t.Errorf("causes: the page has %v, the code %v", causes, inCode)
	}

	numbers := fmt.Sprint(section(t, "What a pass tells"))
	lag, _ := stack.Resources["RefreshLagAlarm"].Properties["Threshold"].(float64)
	if hours := fmt.Sprintf("over %.0f hours", lag/3600); !strings.Contains(numbers, hours) {
		t.Errorf("the page does not say %q", hours)
	}
}
