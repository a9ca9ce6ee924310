package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) editVerb() *cobra.Command {
	keep := false
	v := &cobra.Command{
		Use: "edit TARGET ID", Short: "Changes the payload of a dead event, and sends it again",
		Long: `Edit opens the payload of a dead event in $VISUAL, or $EDITOR. When the editor
ends, the new text takes the place of the old one, which is gone then, and the
event is revived. An unchanged text does nothing. If somebody else edited the
event since then, nothing is changed, and what you wrote is kept in a file.`,
		Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := split(args, 1)
			if err != nil {
				return err
			}
			return c.with(cmd.Context(), target, func(cl *client, lane string) error {
				return c.edit(cmd.Context(), cl, lane, rest[0], keep)
			})
		},
		ValidArgsFunction: c.completeIDs("dead"),
	}
	v.Flags().BoolVar(&keep, "keep-dead", false, "do not revive it")
	return v
}

func (c *command) edit(ctx context.Context, cl *client, lane, id string, keep bool) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" && !isTerminal(c.in) {
		return fail(exitUsage, "there is no terminal, and EDITOR is not set")
	} else if editor == "" {
		editor = "vi"
	}
	e, _, err := cl.find(ctx, lane, id)
	switch {
	case err != nil:
		return err
	case e.State != "dead":
		return fail(exitFailed, "event %s is %s: only dead ones can be edited, since others may be on their way", e.ID, visible(e.State))
	case e.Damage != "":
		return fail(exitFailed, "event %s cannot be read: %s", e.ID, visible(e.Damage))
	case e.Payload == nil:
		return fail(exitNotAllowed, "you may not read payloads")
	}
	if err := cl.release(); err != nil {
		return err
	}
	text, path, err := c.edited(ctx, editor, *e.Payload)
	if err != nil {
		return err
	}
	saved := true
	defer func() {
		if saved {
			os.RemoveAll(filepath.Dir(path))
		}
	}()
	if bytes.Equal(text, *e.Payload) {
		fmt.Fprintln(c.err, "The text is unchanged: nothing was done.")
		return nil
	}
	ask := action{Do: "edit", Items: []ref{{e.At, e.ID}}, Payload: text, Was: e.Contents}
	said := "edited"
	if !keep {
		ask.Revive, said = 1, "edited and revived"
	}
	d, err := cl.act(ctx, lane, &ask)
	if err != nil {
		saved = false
		return fmt.Errorf("%w; what you wrote is kept in %s", err, path)
	}
	return c.did(act{done: said}, d)
}

// edited has an editor change a text, in a file that is alone in a folder that only this user may
// read. Without an error the caller removes the folder.
func (c *command) edited(ctx context.Context, editor string, text []byte) (changed []byte, path string, err error) {
	dir, err := os.MkdirTemp("", "outbox-edit-")
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	path = filepath.Join(dir, "payload")
	if json.Valid(text) {
		path += ".json"
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, "", err
	}
	words := strings.Fields(editor)
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	if !isTerminal(c.out) { // its output is no data
		cmd.Stdout = c.err
	}
	if err := cmd.Run(); err != nil {
		return nil, "", fmt.Errorf("%s: %w; nothing was done", words[0], err)
	}
	changed, err = os.ReadFile(path)
	// Most editors end a text with a line.
	if more, ok := bytes.CutSuffix(changed, []byte("\n")); ok && !bytes.HasSuffix(text, []byte("\n")) {
		changed = more
	}
	return changed, path, err
}
