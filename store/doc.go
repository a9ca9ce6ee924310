// Package store keeps a sender.Queue in one bbolt file.
//
// A [Store] is one lane: a top-level bucket in a file of its own ([Open]), another bucket of such a
// file ([Store.Lane]), or a bucket in the application's own database ([In]). An item that was
// appended is on disk, whatever happens next: killed processes, power cuts and failed syncs are
// healed when the file is opened and after every failed commit.
//
// The state of an item is the bucket it lies in, and each transition is one delete and one put in one
// transaction:
//
//	bucket  key                          what lies there
//	meta    format, ledger, paused, …    the version, the counts, a pause the destination asked for
//	ready   seq                          what may be sent at any time, in the order of Append
//	timed   NotBefore, seq               its time has not come
//	later   due, seq, hash of the Key    failed, waiting for its next try
//	dead    seq                          given up, with the reason; or being sent at most once
//	notes   the caller's                 what AppendNoted kept; made with the first note
//
// What is in flight, and who waits behind whom, is memory: it follows from the file, and a restart
// works it out again. Items that were in flight when the process died are sent again, under the same ID.
//
// With a [Sealer] kind, key, header, payload and reasons lie sealed in the file; what is changed or
// exchanged there is buried as damaged. Readable are IDs, times, counts of failures, sizes, which items
// have the same key, the ids of the sealing keys, notes, and what was there before sealing was turned on,
// until it is rewritten. [Store.Erase] removes what belongs to one Key, from free pages too.
//
// # What each failure does
//
//	a killed process        nothing. What was in flight, or answered in the last Gather, is sent again. The
//	                        next Open reads every page; after Close it reads what leads to the items
//	a power cut             the same
//	a failed write or sync  sender.ErrStorage. The file is closed and opened anew, both its meta pages are written
//	                        back and synced, and only then does anything go on; until that works all is
//	                        refused, and Counts.Failed says why. It is tried once a second, when asked for
//	a full disk, a quota    sender.ErrFull, and nothing was stored, without a commit each time. What settles, drops
//	                        or buries has a reserve inside the file. It goes on within a second of room
//	the file was removed,   sender.ErrStorage, or ErrCorrupt, before anything more is acknowledged. It goes on when
//	replaced, cut short,    the file is back; a file that went back to an older state has to be opened anew
//	or overwritten
//	a bug in a Sealer       that commit fails, and is healed
//	a wrong clock           a pause is never longer than it was told, a retry never later than the longest
//	                        delay ever granted; NotBefore, Expires and KeepDead follow the wall clock
//
// # What one bad byte costs
//
// Open looks at a file before bbolt does, and refuses it with [ErrCorrupt] rather than guess; the file
// stays as it is. [Salvage] copies what can be read into a fresh one.
//
//	in a record            that item: it is among the dead with its bytes and the reason
//	in a leaf's entries    nothing, once salvaged: records have checksums, and say where they lie
//	a whole leaf           what lay on it; Salvaged.Lost counts it
//	in a branch            nothing after a clean Close; after a kill the items below are found again, in
//	                       part as suspicious
//	in the list of free    nothing, once salvaged
//	pages
//	in one meta page       nothing, or the newest commit: [Store.Fallback] says so
//	in both                nothing, if the newest root is found among the pages; else all are suspicious
//	in the root page, or   as of the commit before; what came since is suspicious
//	that of a lane
//	cut short              what lay behind the cut
//
// A file of more than 64 MiB that was closed cleanly is not read whole when it is opened: a damaged leaf
// stops the lane when Claim comes to it, Counts.Failed says why, and what can still be sent is; [Store.Check]
// finds it before. An item may be sent again after damage. Notes, a kept pause and the longest delay have no
// checksum: a bad byte there may make a lane wait, or retry early.
//
// # Caveats
//
// One process at a time has the file ([ErrLocked]). A large file becomes small again by itself when its
// backlog has been delivered ([Store.Compact]). Reading iterators see each page of items as it was when
// they reached it.
//
// Lanes in an application's own database ([In]) rest on it: the application opens it, heals it and
// closes it, and a transaction it holds open makes all lanes wait.
package store
