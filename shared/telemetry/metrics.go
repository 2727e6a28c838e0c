package telemetry

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Pass is what an operator watches of one pass over what is due.
type Pass struct {
	Lag         time.Duration // how long the longest waiting grant had been due
	Refreshed   int
	Proven      int
	Failed      int
	BreakerOpen bool
}

// Namespace is where CloudWatch keeps keepin's metrics.
const Namespace = "keepin"

// WriteEMF writes p as one line of CloudWatch's embedded metric format, from
// which Lambda's log makes metrics. The function's name is their only
// dimension: each combination of dimensions is paid for.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (p Pass) WriteEMF(w io.Writer, at time.Time, function string) error {
	open := 0
	if p.BreakerOpen {
		open = 1
	}
	metrics := []struct {
		name, unit string
		value      any
	}{
		{"RefreshLagSeconds", "Seconds", p.Lag.Seconds()},
		{"Refreshed", "Count", p.Refreshed},
		{"Proven", "Count", p.Proven},
		{"Failed", "Count", p.Failed},
		{"BreakerOpen", "None", open},
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
