package powercut

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount makes the disk the content of the directory at dir, until unmount is called. It needs root
// and /dev/fuse, and Linux 6.6. Every write goes to the disk at once, and shared mappings for
// reading follow it; those of a write that failed do not show what it did not write.
func Mount(d *Disk, dir string) (unmount func() error, err error) {
	syscall.ForkLock.RLock()
	server, err := fuse.NewServer(&front{fuse.NewDefaultRawFileSystem(), d}, dir, &fuse.MountOptions{
		FsName: "powercut", Name: "powercut", DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true,
		ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP,
		Logger:            log.New(io.Discard, "", 0), // it would complain of answers to killed processes
	})
	keepServer()
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("powercut: mount %s: %w", dir, err)
	}
	go server.Serve() // ends with the mount; Wait below
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("powercut: mount %s: %w", dir, err), syscall.Unmount(dir, syscall.MNT_DETACH))
	}
	return func() error {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("powercut: unmount %s: %w", dir, err)
		}
		server.Wait()
		return nil
	}, nil
}

// keepServer keeps the descriptors of /dev/fuse in this process. One that inherited them would keep
// the file system waiting for answers after the process that gives them has been killed, and could
// itself not be killed. The caller holds syscall.ForkLock.
func keepServer() {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == "/dev/fuse" {
			if n, err := strconv.Atoi(fd.Name()); err == nil {
				syscall.CloseOnExec(n)
			}
		}
	}
}

// front translates what the kernel asks. It caches nothing: all timeouts are zero.
type front struct {
	fuse.RawFileSystem
	disk *Disk
}

func status(err error) fuse.Status {
	var no syscall.Errno
	if err == nil {
		return fuse.OK
	} else if errors.As(err, &no) {
		return fuse.Status(no)
	}
	return fuse.EIO
}

func (f *front) String() string { return "powercut" }

func (f *front) attr(number uint64, out *fuse.Attr) fuse.Status {
	if number == rootNumber {
		*out = fuse.Attr{Ino: number, Mode: syscall.S_IFDIR | 0o700, Nlink: 2, Blksize: page}
		return fuse.OK
	}
	size, room, err := f.disk.Size(number)
	*out = fuse.Attr{Ino: number, Mode: syscall.S_IFREG | 0o600, Nlink: 1, Size: uint64(size), Blocks: uint64(room) / 512, Blksize: page}
	return status(err)
}

func (f *front) entry(number uint64, out *fuse.EntryOut) fuse.Status {
	out.NodeId, out.Generation = number, 1
	return f.attr(number, &out.Attr)
}

func (f *front) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	number, err := f.disk.Lookup(name)
	if err != nil {
		return status(err)
	}
	return f.entry(number, out)
}

func (f *front) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.attr(in.NodeId, &out.Attr)
}

func (f *front) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.Valid&fuse.FATTR_SIZE != 0 {
		if err := f.disk.Extend(in.NodeId, int64(in.Size)); err != nil {
			return status(err)
		}
	}
	return f.attr(in.NodeId, &out.Attr)
}

func (f *front) Create(_ <-chan struct{}, _ *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	number, err := f.disk.Create(name)
	if err != nil {
		return status(err)
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return f.entry(number, &out.EntryOut)
}

func (f *front) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if err := f.disk.Link(in.Oldnodeid, name); err != nil {
		return status(err)
	}
	return f.entry(in.Oldnodeid, out)
}

func (f *front) Rename(_ <-chan struct{}, _ *fuse.RenameIn, from, to string) fuse.Status {
	return status(f.disk.Rename(from, to))
}

func (f *front) Unlink(_ <-chan struct{}, _ *fuse.InHeader, name string) fuse.Status {
	return status(f.disk.Rename(name, ""))
}

func (f *front) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return status(f.disk.Open(in.NodeId))
}

func (f *front) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { f.disk.Release(in.NodeId) }

func (f *front) Read(_ <-chan struct{}, in *fuse.ReadIn, b []byte) (fuse.ReadResult, fuse.Status) {
	n, err := f.disk.Read(in.NodeId, int64(in.Offset), b)
	if err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(b[:n]), fuse.OK
}

func (f *front) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, err := f.disk.Write(in.NodeId, int64(in.Offset), data)
	return uint32(n), status(err)
}

func (f *front) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return status(f.disk.Sync(in.NodeId))
}

func (f *front) FsyncDir(_ <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	return status(f.disk.SyncDir())
}

func (f *front) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return fuse.OK
}

func (f *front) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for i, name := range f.disk.Names() {
		if uint64(i) < in.Offset {
			continue
		}
		number, err := f.disk.Lookup(name)
		if err != nil {
			continue // removed since
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Ino: number, Mode: syscall.S_IFREG}) {
			break
		}
	}
	return fuse.OK
}

func (f *front) Flush(_ <-chan struct{}, _ *fuse.FlushIn) fuse.Status { return fuse.OK }

func (f *front) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: page, NameLen: 255}
	return fuse.OK
}
