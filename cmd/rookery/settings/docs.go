package settings

import (
	"fmt"
	"strings"
)

const intro = `# Configuration

<!-- Written by "make docs" from cmd/rookery/settings; change it there. -->

Every setting has one name and three spellings. ` + "`drain-timeout`" + `, say, is

| where | spelling |
|---|---|
| on the command line | ` + "`--drain-timeout 30s`" + ` or ` + "`--drain-timeout=30s`" + `, with one hyphen or two |
| in the environment | ` + "`ROOKERY_DRAIN_TIMEOUT=30s`" + ` |
| in a file | ` + "`drain-timeout: 30s`" + `, the file named by ` + "`--config`" + ` or ` + "`ROOKERY_CONFIG`" + ` |

The command line rules over the environment, the environment over the file, the file over the default. What is given empty is
given: ` + "`ROOKERY_TLS_CERT=`" + ` turns off what a file turned on.

    rookery config                 # the configuration in force, as a file, with where each value comes from
    rookery config --defaults      # a file to begin with: everything at its default, commented out
    rookery serve --help           # this table, for a terminal

` + "`rookery config`" + ` takes what ` + "`rookery serve`" + ` takes, and starts nothing: it is how to check a configuration before it is used.
Its exit code is 2 where something is wrong. All that is wrong is told at once, each by the name it was given under, and where.
Names that do not exist are refused, with the nearest that does; so are unknown variables that begin with ` + "`ROOKERY_`" + `, save
` + "`ROOKERY_BIN`" + ` and what Kubernetes and Docker add for services of that name.

**When it counts.** A node reads its configuration when it starts. A change needs a restart, which is an orderly one on SIGTERM. The
exceptions are the contents of files: ` + "`tls-cert` and `tls-key`" + ` are read again when they change, the webhook's secret and the
issuer's key set now and then, as their rows say. ` + "`shards`" + ` counts only when the data directory is new.

**Secrets** are never values of settings; where one is needed, the setting names a file that holds it. So the configuration can be
shown, and the log line at the start that lists what differs from the defaults gives nothing away.

## Values

| | |
|---|---|
| duration | numbers with ` + "`ms`, `s`, `m`, `h`, `d`" + `: ` + "`90s`, `1h30m`, `30d`" + ` |
| size | bytes: ` + "`65536`, `64KiB`, `64MiB`, `2GiB`" + ` |
| rate | so many a second and so many at once: ` + "`256/1024`" + ` |
| list | in a file ` + "`[a, b]`" + ` or a line with a hyphen each; in the environment parted by commas; a flag is repeated, or parted by commas. The place that rules gives the whole list |
| file, directory | relative ones start where the node was started |

A file is one YAML mapping in UTF-8, at most 256 KiB. Anchors, aliases, tags, several documents and repeated keys are refused.
`

// Markdown is docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, t := range Topics() {
		fmt.Fprintf(&b, "\n## %s\n\n| setting | environment | values | default | |\n|---|---|---|---|---|\n", t.Title)
		for _, s := range t.Settings {
			standard := s.Default()
			if standard != "" {
				standard = "`" + standard + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", s.Name, s.Variable(), cell(s.kind.values), standard, cell(s.Doc))
		}
	}
	return b.String()
}

func cell(text string) string { return strings.NewReplacer("|", `\|`, "*", `\*`).Replace(text) }
