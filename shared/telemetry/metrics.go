package telemetry

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Pass is what an operator watches of one pass over what is due.
type Pass struct {
	Lag     time.Duration // how late the latest of the grants was
	Done    int           // grants worked on without trouble
	Failed  int           // grants whose work failed
	Blocked bool          // breaker or pause stopped refreshes
	Open    int           // incidents that were open at its end
}

// Namespace is where CloudWatch keeps keepin's metrics.
const Namespace = "keepin"

// WriteEMF writes p as one line of CloudWatch's embedded metric format, from
// which Lambda's log makes metrics. The function's name is their only
// dimension: each combination of dimensions is paid for.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (p Pass) WriteEMF(w io.Writer, at time.Time, function string) error {
	blocked := 0
	if p.Blocked {
		blocked = 1
	}
	metrics := []struct {
		name, unit string
		value      any
	}{
		{"RefreshLagSeconds", "Seconds", p.Lag.Seconds()},
		{"Done", "Count", p.Done},
		{"Failed", "Count", p.Failed},
		{"Blocked", "None", blocked},
		{"OpenIncidents", "Count", p.Open},
	}
	line := map[string]any{"FunctionName": function}
	var definitions []map[string]string
	for _, m := range metrics {
		line[m.name] = m.value
		definitions = append(definitions, map[string]string{"Name": m.name, "Unit": m.unit})
	}
	line["_aws"] = map[string]any{
		"Timestamp":         at.UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{"Namespace": Namespace, "Dimensions": [][]string{{"FunctionName"}}, "Metrics": definitions}},
	}
	out, err := json.Marshal(line)
	if err == nil {
		_, err = w.Write(append(out, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
