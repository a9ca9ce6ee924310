// Package store keeps a [sender.Queue] in one bbolt file.
//
// A [Store] is one lane: a top-level bucket in a file of its own ([Open]), another bucket of such a
// file ([Store.Lane]), or a bucket in the application's own database ([In]). An item is on disk
// when Append returns. It survives a killed process, a power cut and a failed sync: the file is
// healed when it is opened and after every failed commit.
//
// The state of an item is the bucket that holds it. Each transition is one delete and one put in
// one transaction:
//
//	bucket  key                      contents
//	meta    format, ledger, paused…  the version, the counts, a pause that the destination asked for
//	ready   seq                      items that may be sent at any time, in the order of Append
//	timed   NotBefore, seq           items whose time has not come
//	later   due, seq, hash of Key    items that failed and wait for their next try
//	dead    seq                      items given up, with the reason; or being sent at most once
//	notes   chosen by the caller     what AppendNoted stored
//
// Memory knows which items are in flight and which wait behind them. A restart derives this from
// the file: items that were in flight are sent again, with the same ID.
//
// docs/durability.md says what each failure costs and what the promise depends on. docs/format.md
// describes the file byte by byte. Package salvage copies what can be read of a damaged file.
//
// # Caveats
//
// Only one process at a time can open the file ([ErrLocked]). A damaged file is refused
// ([ErrCorrupt]) and not changed. A [Sealer] encrypts kind, key, header, payload and reasons. IDs,
// times, counts, sizes and notes stay readable, and so does which items share a key.
//
// A listing reads page by page and shows each page as it was when it was read. A large file
// compacts itself when its backlog has been delivered ([Store.Compact]).
//
// A lane in the application's own database depends on the application, which opens and closes the
// database, and calls [Heal] after a commit of its own has failed. While the application holds a
// write transaction, all lanes of the database wait.
package store
