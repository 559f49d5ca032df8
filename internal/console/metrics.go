package console

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
)

var feedLabels = []string{"connection", "source"}

// The metrics, as the contract names them.
var (
	descRecords     = prometheus.NewDesc("trawl_records_total", "Records written to the log since the feed began.", feedLabels, nil)
	descDuplicates  = prometheus.NewDesc("trawl_duplicates_total", "Records received again and dropped.", feedLabels, nil)
	descLate        = prometheus.NewDesc("trawl_late_records_total", "Records that became visible after their time had been read.", feedLabels, nil)
	descGone        = prometheus.NewDesc("trawl_gone_records_total", "Records of a state that are no longer there, as told in the log since the feed began.", feedLabels, nil)
	descLag         = prometheus.NewDesc("trawl_feed_lag_seconds", "How far the feed's watermark is behind now.", feedLabels, nil)
	descLastSuccess = prometheus.NewDesc("trawl_feed_last_success_timestamp_seconds", "When the feed was last read to the present.", feedLabels, nil)
	descState       = prometheus.NewDesc("trawl_feed_state", "1 for the state that the feed is in, 0 for the others.", []string{"connection", "source", "state"}, nil)
	descRequests    = prometheus.NewDesc("trawl_requests_total", "Answers of the API by class.", []string{"connection", "class"}, nil)
	descDelivered   = prometheus.NewDesc("trawl_delivered_total", "Documents delivered by this process.", []string{"output"}, nil)
	descPending     = prometheus.NewDesc("trawl_pending_pages", "Pages in the log that the output has not taken yet.", []string{"output"}, nil)
	descDead        = prometheus.NewDesc("trawl_dead_letters_total", "Documents that the output refused for good, in this process.", []string{"output"}, nil)
	descDeadKept    = prometheus.NewDesc("trawl_dead_letters_kept", "Dead letters that the output has.", []string{"output"}, nil)
	descOutputState = prometheus.NewDesc("trawl_output_state", "1 for the state that the output is in, 0 for the others.", []string{"output", "state"}, nil)
	descLogBytes    = prometheus.NewDesc("trawl_log_bytes", "Size of the log.", nil, nil)
	descLogMost     = prometheus.NewDesc("trawl_log_max_bytes", "Size from which the log takes no more pages.", nil, nil)
)

// metrics reads the engine's status at each scrape, so that there is one
// source of these numbers.
type metrics struct{ engine Engine }

func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRecords, descDuplicates, descLate, descGone, descLag, descLastSuccess, descState,
		descRequests, descDelivered, descPending, descDead, descDeadKept, descOutputState, descLogBytes, descLogMost} {
		ch <- d
	}
}

func (m metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	s, err := m.engine.Status(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descLogBytes, err)
		return
	}
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	for _, f := range s.Feeds {
		c, src := f.Connection, f.Source
		send(descRecords, prometheus.CounterValue, float64(f.Counts.Records), c, src)
		send(descDuplicates, prometheus.CounterValue, float64(f.Counts.Duplicates), c, src)
		send(descLate, prometheus.CounterValue, float64(f.Counts.Late), c, src)
		if f.Whole != nil {
			send(descGone, prometheus.CounterValue, float64(f.Counts.Gone), c, src)
		}
		send(descLag, prometheus.GaugeValue, f.LagSeconds, c, src)
		if !f.LastSuccess.IsZero() {
			send(descLastSuccess, prometheus.GaugeValue, float64(f.LastSuccess.UnixMilli())/1000, c, src)
		}
		for _, state := range collect.States {
			send(descState, prometheus.GaugeValue, truth(state == f.State), c, src, string(state))
		}
	}
	for _, c := range s.Connections {
		for class, n := range c.Answers {
			send(descRequests, prometheus.CounterValue, float64(n), c.Name, string(class))
		}
	}
	for _, o := range s.Outputs {
		send(descDelivered, prometheus.CounterValue, float64(o.Documents), o.Output)
		send(descPending, prometheus.GaugeValue, float64(o.PendingPages), o.Output)
		send(descDead, prometheus.CounterValue, float64(o.Refused), o.Output)
		send(descDeadKept, prometheus.GaugeValue, float64(o.DeadLetters), o.Output)
		for _, state := range deliver.States {
			send(descOutputState, prometheus.GaugeValue, truth(state == o.State), o.Output, string(state))
		}
	}
	send(descLogBytes, prometheus.GaugeValue, float64(s.Log.Bytes))
	if s.Log.MaxBytes > 0 {
		send(descLogMost, prometheus.GaugeValue, float64(s.Log.MaxBytes))
	}
}

// truth is a truth value as metrics have them.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
