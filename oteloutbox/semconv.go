package oteloutbox

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// What is named here follows the conventions of version 1.43.0, except for names that begin with
// outbox.
const (
	scope     = "github.com/seed8107221f/outbox/oteloutbox"
	schemaURL = semconv.SchemaURL
	system    = "outbox" // the value of messaging.system

	attrSystem        = semconv.MessagingSystemKey
	attrDestination   = semconv.MessagingDestinationNameKey
	attrOperation     = semconv.MessagingOperationNameKey
	attrOperationType = semconv.MessagingOperationTypeKey
	attrMessageID     = semconv.MessagingMessageIDKey
	attrBodySize      = semconv.MessagingMessageBodySizeKey
	attrBatch         = semconv.MessagingBatchMessageCountKey
	attrErrorType     = semconv.ErrorTypeKey

	attrKind    = attribute.Key("outbox.kind")
	attrKey     = attribute.Key("outbox.key")
	attrAttempt = attribute.Key("outbox.attempt")
	attrState   = attribute.Key("state")
	attrVerdict = attribute.Key("verdict")
)

var (
	typeSend    = semconv.MessagingOperationTypeSend
	typeProcess = semconv.MessagingOperationTypeProcess
)

// errorOther is error.type of an error that has no better name.
var errorOther = semconv.ErrorTypeOther.Value.AsString()

// buckets are those of the convention for durations, in seconds.
var buckets = metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10)
