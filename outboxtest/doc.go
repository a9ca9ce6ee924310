// Package outboxtest helps to test code that puts events and code that delivers them.
package outboxtest
