// Renders conversations as Ollama does with a TEMPLATE that ranges over .Messages: neighbours of one role are
// joined with an empty line, then Go's text/template is executed. Reads {"template", "conversations"} from stdin,
// writes the list of prompts to stdout.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func collate(messages []message) (string, []*message) {
	var system []string
	var joined []*message
	for i := range messages {
		m := messages[i]
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if n := len(joined); n > 0 && joined[n-1].Role == m.Role {
			joined[n-1].Content += "\n\n" + m.Content
		} else {
			joined = append(joined, &m)
		}
	}
	return strings.Join(system, "\n\n"), joined
}

func main() {
	var asked struct {
		Template      string      `json:"template"`
		Conversations [][]message `json:"conversations"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
	prompts := []string{}
	for _, conversation := range asked.Conversations {
		system, messages := collate(conversation)
		var out strings.Builder
		values := map[string]any{"System": system, "Messages": messages, "Response": ""}
		if err := parsed.Execute(&out, values); err != nil {
			panic(err)
		}
		prompts = append(prompts, out.String())
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(prompts); err != nil {
		panic(err)
	}
}
