package customeriotest_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// An answer is lost, the client repeats its request: the service knows the event by its id.
func Example() {
	s := customeriotest.NewServer(nil)
	defer s.Close()
	s.Script(customeriotest.Fault{Status: 502, Accept: true})

	for range 2 {
		event := strings.NewReader(`{"name":"bought","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","data":{"price":5}}`)
		r, err := http.NewRequest("POST", s.URL()+"/api/v1/customers/42/events", event)
		if err != nil {
			fmt.Println(err)
			return
		}
		r.SetBasicAuth("site", "track-key")
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		a.Body.Close()
		fmt.Println(a.StatusCode)
	}
	v := s.Verdict()
	fmt.Printf("%d operations, %d of them repetitions\n", v.Operations, v.Duplicates)
	// Output:
	// 502
	// 200
	// 2 operations, 1 of them repetitions
}

// A faster account, a 429 that says when to come back, and a judge of order.
func ExampleOptions() {
	s := customeriotest.NewUnstartedServer(&customeriotest.Options{
		RetryAfter: customeriotest.RetryAfter{Form: customeriotest.IMFFixdate},
		Limits:     map[customeriotest.API]customeriotest.Limit{customeriotest.Track: {Requests: 1000}},
		Sequence:   customeriotest.Attribute("n"), // judges the order of operations by their attribute n
	})
	defer s.Close()
	fmt.Println(s.Verdict())
	// Output: operations=0 unique=0 duplicates=0 order_violations=0 fullest_second=0 refused_for_rate=0 before_retry_after=0
}
