package store

import bolt "go.etcd.io/bbolt"

// tamper changes the file as if the disk had, behind the back of those who look whether somebody wrote to it.
func tamper(s *Store, fn func(tx *bolt.Tx) error) error {
	err := s.file.db.Update(fn)
	if err == nil {
		s.file.last++
	}
	return err
}
