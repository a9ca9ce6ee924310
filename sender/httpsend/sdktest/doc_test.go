// Package sdktest proves package httpsend with an SDK as it is published: go-customerio. It is a
// module of its own, so that the SDK is no dependency of the outbox.
package sdktest
