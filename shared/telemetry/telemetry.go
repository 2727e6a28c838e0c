// Package telemetry is what an operator sees of keepin.
package telemetry
