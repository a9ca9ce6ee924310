package outboxtest_test

import (
	"testing"

	"github.com/seed8107221f/outbox/internal/campaign"
)

func TestMain(m *testing.M) { campaign.Run(m) }
