package customerio

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hidden reports whether a character has no shape of its own: a control or format character.
func hidden(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// trim cuts off what cannot be seen around text.
func trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || hidden(r) })
}

// character names the first character of text, but not by its shape.
func character(text string) string {
	r, _ := utf8.DecodeRuneInString(text)
	return fmt.Sprintf("the character U+%04X, which cannot be seen", r)
}

// checkEmail requires an @ between other characters, and none that is blank or cannot be seen. The
// vendor documents no more than "a person's email address"
// (https://docs.customer.io/integrations/api/track/), so all else is left to the service.
func checkEmail(field, address string) error {
	at := strings.LastIndexByte(address, '@')
	bad := strings.IndexFunc(address, func(r rune) bool { return unicode.IsSpace(r) || hidden(r) })
	switch {
	case !utf8.ValidString(address):
		return invalid(field, "has %d bytes that are not UTF-8", len(address))
	case bad >= 0:
		return invalid(field, "has a space or a character that cannot be seen at byte %d of its %d", bad+1, len(address))
	case at < 1 || at == len(address)-1:
		return invalid(field, "has %d bytes and is no email address: @ must stand between others", len(address))
	}
	return nil
}

// checkPhone requires E.164, a + and up to 15 digits
// (https://docs.customer.io/integrations/api/track/, identifiers of a person).
func checkPhone(field, number string) error {
	digits, plus := strings.CutPrefix(number, "+")
	if !plus || len(digits) < 2 || len(digits) > 15 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return invalid(field, "has %d bytes and is no phone number in E.164: + and up to 15 digits", len(number))
	}
	return nil
}

// maxRecipients is how many addresses an email has at most, in to, cc and bcc together
// (https://docs.customer.io/integrations/api/app/, send/email).
const maxRecipients = 15

// checkEnvelope checks the addresses and attachments of an email.
func (m *Message) checkEnvelope() error {
	lists := [...]struct {
		field string
		value any
	}{{"To", m.To}, {"Extra.cc", m.Extra["cc"]}, {"Extra.bcc", m.Extra["bcc"]}}
	total := 0
	for _, l := range lists {
		list, ok := l.value.(string)
		if !ok && l.value != nil {
			return invalid(l.field, "must be a string, with commas between addresses")
		}
		for _, address := range addresses(list) {
			if err := checkEmail(l.field, address); err != nil {
				return err
			}
			total++
		}
	}
	if total > maxRecipients {
		return invalid("To", "has, with cc and bcc, %d addresses, at most %d", total, maxRecipients)
	}
	return checkAttachments("Extra.attachments", m.Extra["attachments"])
}

// addresses splits a list at the commas that are in no quotes, and takes what is in angle brackets.
func addresses(list string) (all []string) {
	quoted := false
	for part := range strings.FieldsFuncSeq(list, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	}) {
		part = strings.Trim(part, " \t\r\n") // other white space is refused, as it goes out as it is
		if open := strings.LastIndexByte(part, '<'); open >= 0 && strings.HasSuffix(part, ">") {
			part = part[open+1 : len(part)-1]
		}
		if part != "" {
			all = append(all, part)
		}
	}
	return all
}

// checkAttachments requires names of files and their contents in base64, less than 2 MB in all
// (https://docs.customer.io/integrations/api/app/, send/email). The vendor does not say whether
// before or after base64; here it is before. A []byte becomes base64 by itself.
func checkAttachments(field string, attachments any) error {
	if attachments == nil {
		return nil
	}
	raw, err := encode(field, attachments)
	if err != nil {
		return err
	}
	var files map[string]string
	if err := json.Unmarshal(raw, &files); err != nil {
		return invalid(field, "must be names of files and their contents in base64, as text")
	}
	total := 0
	for name, text := range files {
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return invalid(field+"."+name, "has %d bytes that are not base64", len(text))
		}
		total += len(content)
	}
	if total >= maxAttachments {
		return invalid(field, "have %d bytes, less than %d expected", total, maxAttachments)
	}
	return nil
}
