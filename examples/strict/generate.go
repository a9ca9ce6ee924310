//go:build ignore

// Generate writes the sample input: the lives of some three hundred customers of an invented shop,
// in the order of time. It writes the same bytes whenever it runs.
//
//	go run generate.go events.ndjson
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	customers = 300
	perLife   = 10 // events after the first, at most
)

var (
	begin  = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)
	random = rand.New(rand.NewPCG(2026, 3))

	firstNames = strings.Fields("Ana Bruno Chloé Dmitri Elif Farah Goran Hana Ingrid João Kemal Lena Mateo Nadia Olu Priya Quentin Rosa Søren Tariq Uma Viktor Wanjiru Ximena Yusuf Zoë")
	lastNames  = strings.Fields("Almeida Berg Costa Dubois Eriksen Fischer García Haddad Ivanova Jensen Kowalski Lindqvist Moreau Novák Okafor Park Quispe Rossi Silva Tanaka Ueda Varga Weber Yılmaz Zhang")
	plans      = []string{"free", "free", "free", "starter", "team"}
	pages      = []string{"/", "/pricing", "/docs/start", "/blog/spring-release", "/account"}
	goods      = []string{"notebook A5", "fountain pen", "desk lamp", "paper, 500 sheets", "ink, blue-black"}
)

type line struct {
	Kind    string `json:"kind"`
	Key     string `json:"key"`
	Payload any    `json:"payload"`

	at time.Time
}

type profile struct {
	Email     string `json:"email"`
	Name      string `json:"name"`
	Plan      string `json:"plan"`
	CreatedAt int64  `json:"created_at"`
}

type occurrence struct {
	Name      string         `json:"name"`
	Timestamp int64          `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

func pick[T any](from []T) T { return from[random.IntN(len(from))] }

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("generate: want the name of the file to write")
	}
	var lines []line
	for n := range customers {
		lines = append(lines, life(n)...)
	}
	// Within a customer time rises by whole minutes, so no sort can swap two of one key.
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Key, b.Key))
	})
	if err := write(os.Args[1], lines); err != nil {
		log.Fatal("generate: ", err)
	}
}

// life is one customer: who it is, then what it does.
func life(n int) []line {
	key := fmt.Sprintf("cust_%04d", 1001+n)
	at := begin.Add(time.Duration(random.IntN(5*24*60)) * time.Minute)
	first, last := pick(firstNames), pick(lastNames)
	lines := []line{{Kind: "identify", Key: key, at: at, Payload: profile{
		Email:     fmt.Sprintf("customer%d@example.com", 1001+n),
		Name:      first + " " + last,
		Plan:      pick(plans),
		CreatedAt: at.Unix(),
	}}}
	for range 1 + random.IntN(perLife) {
		at = at.Add(time.Duration(1+random.IntN(12*60)) * time.Minute)
		name, data := happening()
		lines = append(lines, line{Kind: "event", Key: key, at: at,
			Payload: occurrence{Name: name, Timestamp: at.Unix(), Data: data}})
	}
	return lines
}

func happening() (name string, data map[string]any) {
	switch p := random.Float64(); {
	case p < 0.50:
		return "page_viewed", map[string]any{"path": pick(pages), "seconds": 2 + random.IntN(300)}
	case p < 0.75:
		return "cart_updated", map[string]any{"item": pick(goods), "quantity": 1 + random.IntN(3)}
	case p < 0.90:
		return "order_placed", map[string]any{"order_id": fmt.Sprintf("o-%06d", random.IntN(1e6)),
			"currency": "EUR", "total_cents": 500 + random.IntN(20000)}
	case p < 0.97:
		return "plan_changed", map[string]any{"plan": pick(plans)}
	}
	return "support_contacted", map[string]any{"topic": "delivery", "satisfied": random.IntN(4) > 0}
}

func write(name string, lines []line) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	enc := json.NewEncoder(out) // one value a line
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}
