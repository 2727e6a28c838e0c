package telemetry_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/telemetry"
)

// TestAPassIsOneLineOfMetrics reads the line as CloudWatch does: every metric
// and dimension that is declared stands in the line.
func TestAPassIsOneLineOfMetrics(t *testing.T) {
	var out bytes.Buffer
	p := telemetry.Pass{Lag: 90 * time.Second, Done: 3, Failed: 1, Blocked: true, Open: 2}
	if err := p.WriteEMF(&out, time.UnixMilli(1773150032116), "refresh"); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines", n)
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	var emf struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	if err := json.Unmarshal(out.Bytes(), &emf); err != nil || len(emf.AWS.CloudWatchMetrics) != 1 {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	d := emf.AWS.CloudWatchMetrics[0]
	if emf.AWS.Timestamp != 1773150032116 || d.Namespace != "keepin" || len(d.Dimensions) != 1 || len(d.Dimensions[0]) != 1 || line[d.Dimensions[0][0]] != "refresh" {
		t.Errorf("got %s", out.Bytes())
	}
	want := map[string]float64{"RefreshLagSeconds": 90, "Done": 3, "Failed": 1, "Blocked": 1, "OpenIncidents": 2}
	for _, m := range d.Metrics {
		if line[m.Name] != want[m.Name] || m.Unit == "" {
			t.Errorf("%s: got %v, want %v", m.Name, line[m.Name], want[m.Name])
		}
		delete(want, m.Name)
	}
	if len(want) > 0 {
		t.Errorf("not declared: %v", want)
	}
}
