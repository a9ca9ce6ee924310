package peers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

var otelPeer = Peer{
	Name: "otel persistent queue", Module: "go.opentelemetry.io/collector/exporter/exporterhelper",
	Setup: "exporterhelper with a sending_queue over the file_storage extension, fsync: true; each item a log record; 10 consumers",
	Ack:   "three writes to bbolt, all on disk; 10 consumers",
	Open: func(dir string) (Queue, error) {
		return openOtel(dir, nil)
	},
	Drain: drainOtel,
}

// otelQueue is a collector without its server: one storage extension, one exporter.
type otelQueue struct {
	storage extension.Extension
	logs    exporter.Logs
}

// otelHost offers the one extension there is.
type otelHost map[component.ID]component.Component

func (h otelHost) GetExtensions() map[component.ID]component.Component { return h }

// openOtel starts the exporter. Without deliver its ten consumers take one item each and keep it.
func openOtel(dir string, deliver func()) (*otelQueue, error) {
	ctx := context.Background()
	telemetry := component.TelemetrySettings{
		Logger: zap.NewNop(), MeterProvider: noop.NewMeterProvider(), TracerProvider: tracenoop.NewTracerProvider(),
	}
	factory := filestorage.NewFactory()
	id := component.NewID(factory.Type())
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory, cfg.FSync = dir, true
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	storage, err := factory.Create(ctx, extension.Settings{ID: id, TelemetrySettings: telemetry}, cfg)
	if err != nil {
		return nil, err
	}
	push := func(context.Context, plog.Logs) error {
		if deliver == nil {
			return errors.New("not now")
		}
		deliver()
		return nil
	}
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval, retry.MaxInterval, retry.MaxElapsedTime = time.Hour, time.Hour, 0
	settings := exporter.Settings{ID: component.MustNewID("bench"), TelemetrySettings: telemetry}
	logs, err := exporterhelper.NewLogs(ctx, settings, struct{}{}, push, exporterhelper.WithQueue(configoptional.Some(exporterhelper.QueueBatchConfig{
		Sizer: exporterhelper.RequestSizerTypeRequests, QueueSize: 1 << 30, NumConsumers: 10, StorageID: &id,
	})), exporterhelper.WithRetry(retry))
	if err != nil {
		return nil, err
	}
	host := otelHost{id: storage}
	if err := storage.Start(ctx, host); err != nil {
		return nil, fmt.Errorf("file_storage: %w", err)
	}
	if err := logs.Start(ctx, host); err != nil {
		return nil, errors.Join(fmt.Errorf("exporterhelper: %w", err), storage.Shutdown(ctx))
	}
	return &otelQueue{storage, logs}, nil
}

func (q *otelQueue) Put(ctx context.Context, _ string, payload []byte) error {
	l := plog.NewLogs()
	l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetEmptyBytes().FromRaw(payload)
	return q.logs.ConsumeLogs(ctx, l)
}

func (q *otelQueue) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(q.logs.Shutdown(ctx), q.storage.Shutdown(ctx))
}

func drainOtel(ctx context.Context, dir string, n int) (int, error) {
	var delivered atomic.Int64
	all := make(chan struct{})
	q, err := openOtel(dir, func() {
		if delivered.Add(1) == int64(n) {
			close(all)
		}
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-all:
	case <-ctx.Done():
	}
	done := int(delivered.Load())
	return done, q.Close()
}
