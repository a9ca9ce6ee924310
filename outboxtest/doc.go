// Package outboxtest helps to test code that puts events and code that delivers them. It works
// inside and outside the bubbles of testing/synctest; inside, hours pass at once.
//
// [New] opens a real outbox on the real store in the folder of the test. There is no second
// implementation that could agree with the test and disagree with production.
//
//	b := outboxtest.New(t, nil)
//	app := newApp(b.Outbox) // the code under test
//	app.signUp("ann@example.org")
//	b.RequirePut(outboxtest.Want{Kind: "signup", Key: "ann@example.org"})
//	if r := b.Drain(); len(r.Delivered) != 1 {
//		t.Errorf("delivered %d", len(r.Delivered))
//	}
//
// A [Transport] stands for the destination and answers as scripted. A [Receiver] is an HTTP server
// as strict as a vendor, for transports of one's own; [StartReceiver] is for programs without a
// test. Faults ([Outbox.FullDisk], [Outbox.Crash] and others) show what the code under test does
// when the disk or the process fails. docs/testing.md is a guide.
//
// # Caveats
//
// A Require fails the test at once, so call it from the goroutine of the test, as t.Fatal.
//
// RequirePut looks at what was put since the Require before it, and an event that it passes over is
// not seen again: name several events with RequirePuts. Order within a key is the order in which
// the calls of Put returned.
//
// In a bubble, everything that waits must be in the bubble: a socket, a process or a mutex held
// outside keeps its clock from moving. So a test in a bubble uses [Receiver.Client], or a [Pipe].
// Make the outbox, the transport and the receiver inside the bubble too.
//
// Outside a bubble time is real, and an event that is tried again waits 10ms unless Backoff says
// otherwise. A pause of an hour then ends the patience of Drain, and not the pause.
//
// What the kit knows is of the lane that New opened. Other lanes of the file (outbox.Outbox.Lane)
// share the faults of the disk, and nothing else.
//
// A Receiver sees requests and no Puts, so it judges order only by what overtakes what. An event
// that died after many failures and was revived looks like one that was overtaken.
// ReceiverOptions.Seq tells it the order.
package outboxtest
