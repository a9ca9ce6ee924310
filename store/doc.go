// Package store keeps a [sender.Queue] in one bbolt file.
//
// A [Store] is one lane: a top-level bucket in a file of its own ([Open]), another bucket of such a
// file ([Store.Lane]), or a bucket in the application's own database ([In]). An item is on disk
// when Append returns. A killed process, a power cut and a failed sync do not change that: the file
// is healed when it is opened and after every failed commit.
//
// The state of an item is the bucket that holds it. Each transition is one delete and one put in
// one transaction:
//
//	bucket  key                      what it holds
//	meta    format, ledger, paused…  the version, the counts, a pause that the destination asked for
//	ready   seq                      items that may be sent at any time, in the order of Append
//	timed   NotBefore, seq           items whose time has not come
//	later   due, seq, hash of Key    items that failed and wait for their next try
//	dead    seq                      items given up, with the reason; or being sent at most once
//	notes   the caller's             what AppendNoted kept
//
// Items in flight, and the order of items behind them, are kept in memory. They follow from the
// file, and a restart derives them again: items in flight are then sent again, under the same ID.
//
// docs/durability.md says what each failure costs and what the promise rests on. docs/format.md
// describes the file byte by byte. Package salvage copies what can be read of a damaged file.
//
// # Caveats
//
// One process at a time has the file ([ErrLocked]). A damaged file is refused ([ErrCorrupt]) and
// left as it is. A [Sealer] encrypts kind, key, header, payload and reasons, and leaves IDs, times,
// counts, sizes, notes and which items share a key readable.
//
// A listing reads page by page: it shows each page of items as it was when the listing reached it.
// A large file becomes small by itself when its backlog has been delivered ([Store.Compact]).
//
// A lane in the application's own database rests on the application, which opens, heals and closes
// the database. A transaction that the application holds makes all lanes wait.
package store
