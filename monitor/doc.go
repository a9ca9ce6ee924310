// Package monitor shows what outboxes do, and lets permitted people act on them.
//
// It is one [net/http.Handler]. People get HTML pages, which work without a script, and programs
// get JSON from the same addresses. It answers at whatever path it is mounted and needs to know
// none, because all its links are queries:
//
//	m, err := monitor.New(map[string]*outbox.Outbox{"mail": b}, &monitor.Options{
//		Allow: func(r *http.Request, lane string) monitor.Access {
//			user := userOf(r) // of the application's own login
//			return monitor.Access{Name: user.Name, Read: user.Staff, Act: user.OnCall}
//		},
//	})
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	mux.Handle("/outbox/", m)
//
// Without Options everyone who reaches the handler may read counts, keys and errors. Nobody may
// act, and nobody sees a payload. Reading is GET and changes nothing. Acting is POST, is confirmed
// where it is final, is logged with the name of who did it, and is refused when another site sent
// it.
//
// # Caveats
//
// Keys and errors often name people: mount the handler behind the application's own login.
//
// A page of another site can reach a server on a loopback address by DNS rebinding, and is of the
// same origin then. Where nothing in front asks for a password, set Options.Hosts.
//
// With a sealed lane the pages show what this process can open.
//
// Streams keep a server's Shutdown waiting. Register Close:
//
//	server.RegisterOnShutdown(func() { m.Close() })
package monitor
