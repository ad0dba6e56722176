/**
 * Configuration files of MCP clients in the forms that their makers publish, each with the server `crm` and others beside
 * it. Written for these tests after the documentation that is named; the names, addresses and values are ours.
 *
 * What stands between ⟦ and ⟧ has to go, what stands between ⟪ and ⟫ has to come in its place, and every other byte stays.
 */
export interface Published {
  readonly client: string
  /** Below a home folder. */
  readonly path: string
  /** What documents the form. */
  readonly source: string
  readonly marked: string
  /** Names of the secrets in the entries that go. */
  readonly secrets: readonly string[]
  /** How many entries go. Default: one. */
  readonly entries?: number
}

/** In every entry that goes, and nowhere else. */
export const canary = 'canary-71c9e4-do-not-tell'

const stdio = `{
      "command": "npx",
      "args": ["-y", "@acme/crm-mcp@1.0.0"],
      "env": {
        "CRM_TOKEN": "${canary}"
      }
    }`

/** The form that most clients share. */
const mcpServers = (entry: string): string => `{
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/alice/docs"]
    },
⟦    "crm": ${entry},
⟧    "search": {
      "url": "https://search.example/mcp"
    }
  }
}
`

export const published: readonly Published[] = [
  {
    client: 'Claude Desktop',
    path: 'Library/Application Support/Claude/claude_desktop_config.json',
    source: 'https://modelcontextprotocol.io/quickstart/user',
    marked: mcpServers(stdio),
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'Claude Code',
    path: '.claude.json',
    source: 'https://docs.claude.com/en/docs/claude-code/mcp',
    marked: `{
  "numStartups": 41,
  "mcpServers": {⟦
    "crm": {
      "type": "http",
      "url": "https://crm.acme.example/mcp",
      "headers": {
        "Authorization": "Bearer ${canary}"
      }
    }⟧
  },
  "projects": {
    "/home/alice/work/shop": {
      "allowedTools": [],
      "mcpServers": {
        "filesystem": {
          "type": "stdio",
          "command": "npx",
          "args": ["-y", "@modelcontextprotocol/server-filesystem"],
          "env": {}
        }⟦,
        "crm": {
          "type": "stdio",
          "command": "npx",
          "args": [
            "-y",
            "@acme/crm-mcp"
          ],
          "env": {
            "CRM_TOKEN": "${canary}"
          }
        }⟧
      },
      "enabledMcpjsonServers": ["crm"],
      "hasTrustDialogAccepted": true
    },
    "/home/alice/work/other": {
      "allowedTools": [],
      "mcpServers": {}
    }
  },
  "userID": "5f1d7a"
}`,
    secrets: ['Authorization', 'CRM_TOKEN'],
    entries: 2,
  },
  {
    client: 'Claude Code',
    path: '.mcp.json',
    source: 'https://docs.claude.com/en/docs/claude-code/mcp (project scope, variables expanded)',
    marked: `{
  "mcpServers": {
⟦    "crm": {
      "type": "http",
      "url": "\${CRM_URL:-https://crm.acme.example}/mcp",
      "headers": {
        "Authorization": "Bearer ${canary}"
      }
    },
⟧    "shared-server": {
      "command": "/path/to/server",
      "args": [],
      "env": {}
    }
  }
}
`,
    secrets: ['Authorization'],
  },
  {
    client: 'Claude Code',
    path: 'etc/claude-code/managed-mcp.json',
    source: 'https://docs.claude.com/en/docs/claude-code/mcp (managed)',
    marked: mcpServers(stdio),
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'Cursor',
    path: '.cursor/mcp.json',
    source: 'https://cursor.com/docs/context/mcp',
    marked: `{
  "mcpServers": {
    "python-tools": {
      "command": "python",
      "args": ["\${workspaceFolder}/tools/mcp_server.py"],
      "env": { "API_KEY": "\${env:API_KEY}" }
    }⟦,
    "anything-else": {
      "url": "https://crm.acme.example/mcp",
      "headers": { "X-API-KEY": "${canary}" }
    }⟧
  }
}
`,
    secrets: ['X-API-KEY'],
  },
  {
    client: 'Visual Studio Code',
    path: '.config/Code/User/mcp.json',
    source: 'https://code.visualstudio.com/docs/copilot/reference/mcp-configuration',
    marked: `{
	// asked for once, then kept by the editor
	"inputs": [
		{
			"type": "promptString",
			"id": "crm-key",
			"description": "CRM API Key",
			"password": true
		}
	],
	"servers": {
		"github": {
			"type": "http",
			"url": "https://api.githubcopilot.com/mcp/"
		},
		/* the customer database */
⟦		"crm": {
			"type": "stdio",
			"command": "npx",
			"args": ["-y", "@acme/crm-mcp"],
			"env": {
				"CRM_TOKEN": "\${input:crm-key}",
				"CRM_SECRET": "${canary}"
			},
			"envFile": "\${workspaceFolder}/.env"
		},
⟧		"playwright": {
			"command": "npx",
			"args": ["-y", "@microsoft/mcp-server-playwright"],
		},
	},
}
`,
    secrets: ['CRM_TOKEN', 'CRM_SECRET', 'envFile'],
  },
  {
    client: 'Visual Studio Code',
    path: '.config/Code/User/profiles/-58cb3a1/mcp.json',
    source: 'https://code.visualstudio.com/docs/copilot/chat/mcp-servers (each profile has its own)',
    marked: `{"servers": {⟦"crm": {"command": "crm-mcp", "args": ["--token", "${canary}"]}⟧}}`,
    secrets: ['--token'],
  },
  {
    client: 'Visual Studio Code',
    path: 'Library/Application Support/Code/User/settings.json',
    source: 'https://code.visualstudio.com/updates/v1_99 (before mcp.json)',
    marked: `{
    "editor.fontSize": 13, // mine
    "mcp": {
        "inputs": [],
        "servers": {
⟦            "crm": {
                "command": "docker",
                "args": ["run", "-i", "--rm", "-e", "CRM_TOKEN=${canary}", "registry.acme.example/crm-mcp"]
            },
⟧            "time": { "command": "uvx", "args": ["mcp-server-time"] }
        }
    },
    "files.eol": "\\n"
}
`,
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'Cline',
    path: '.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json',
    source: 'https://docs.cline.bot/mcp/configuring-mcp-servers',
    marked: `{
  "mcpServers": {
⟦    "crm": {
      "command": "node",
      "args": ["/home/alice/crm/node_modules/@acme/crm-mcp/server.js"],
      "env": {
        "API_KEY": "${canary}"
      },
      "alwaysAllow": ["tool1", "tool2"],
      "disabled": false
    },
⟧    "remote-server": {
      "type": "streamableHttp",
      "url": "https://your-server-url.example/mcp",
      "headers": {},
      "disabled": true
    }
  }
}
`,
    secrets: ['API_KEY'],
  },
  {
    client: 'Windsurf',
    path: '.codeium/windsurf/mcp_config.json',
    source: 'https://docs.windsurf.com/windsurf/cascade/mcp',
    marked: `{
  "mcpServers": {
    "figma": {
      "serverUrl": "https://figma.example/sse"
    }⟦,
    "customers": {
      "serverUrl": "https://crm.acme.example/mcp",
      "headers": {
        "API_KEY": "Bearer ${canary}"
      }
    }⟧
  }
}
`,
    secrets: ['API_KEY'],
  },
  {
    client: 'Gemini CLI',
    path: '.gemini/settings.json',
    source: 'https://github.com/google-gemini/gemini-cli/blob/main/docs/tools/mcp-server.md',
    marked: `{
  "theme": "GitHub",
  "mcp": {
    "allowed": ["crm", "httpServer"]
  },
  "mcpServers": {
⟦    "crm": {
      "httpUrl": "https://crm.acme.example/mcp",
      "headers": {
        "Authorization": "Bearer ${canary}",
        "X-Custom-Header": "custom-value"
      },
      "timeout": 5000,
      "trust": false
    },
⟧    "dockerizedServer": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "API_KEY", "my-mcp-server"],
      "env": {
        "API_KEY": "$EXTERNAL_SERVICE_TOKEN"
      }
    }
  }
}
`,
    secrets: ['Authorization', 'X-Custom-Header'],
  },
  {
    client: 'Codex',
    path: '.codex/config.toml',
    source: 'https://github.com/openai/codex/blob/main/docs/config.md#mcp_servers',
    marked: `# In TOML, root keys come before tables.
model = "gpt-5.1"
model_reasoning_effort = "high"

[features]
web_search_request = true        # allow the model to request web searches

[mcp_servers.context7]
command = "npx"
args = ["-y", "@upstash/context7-mcp"] # docs

# the customer database
⟦[mcp_servers.crm]
command = "npx"
args = [
  "-y",
  "@acme/crm-mcp", # pinned elsewhere
]
env_vars = ["CRM_REGION_KEY"]
startup_timeout_sec = 20
enabled_tools = ["search", "summarize"]
⟧
⟦[mcp_servers.crm.env]
CRM_TOKEN = "${canary}"
⟧
⟦[mcp_servers.customers]
url = "https://crm.acme.example/mcp"
bearer_token_env_var = "CRM_BEARER"
http_headers = { "X-Api-Key" = "${canary}" }
env_http_headers = { "X-Session" = "CRM_SESSION" }
⟧
[mcp_servers.figma]
url = "https://mcp.figma.com/mcp"

[profiles.fast]
model = "gpt-5.1-codex-mini"
`,
    secrets: ['CRM_REGION_KEY', 'CRM_TOKEN', 'bearer_token_env_var', 'X-Api-Key', 'X-Session'],
    entries: 2,
  },
  {
    client: 'Copilot',
    path: '.copilot/mcp-config.json',
    source: 'https://docs.github.com/copilot/how-tos/use-copilot-agents/use-copilot-cli',
    marked: `{
  "mcpServers": {
⟦    "crm": {
      "type": "local",
      "command": "npx",
      "tools": ["*"],
      "args": ["-y", "@acme/crm-mcp"],
      "env": { "CRM_TOKEN": "${canary}" }
    },
⟧    "playwright": {
      "type": "local",
      "command": "npx",
      "tools": ["*"],
      "args": ["@playwright/mcp@latest"]
    }
  }
}
`,
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'Kiro',
    path: '.kiro/settings/mcp.json',
    source: 'https://kiro.dev/docs/mcp/configuration/',
    marked: `{
  "mcpServers": {
    "web-search": {
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-bravesearch"
      ],
      "env": {
        "BRAVE_API_KEY": "\${BRAVE_API_KEY}"
      }
    },
⟦    "crm": {
      "url": "https://crm.acme.example/mcp",
      "headers": { "Authorization": "Bearer ${canary}" },
      "disabled": false,
      "autoApprove": ["tool_name"]
    }⟧
  }
}
`.replace('},\n⟦', '}⟦,\n'),
    secrets: ['Authorization'],
  },
  {
    client: 'Amazon Q',
    path: '.aws/amazonq/mcp.json',
    source: 'https://docs.aws.amazon.com/amazonq/latest/qdeveloper-ug/command-line-mcp-configuration.html',
    marked: mcpServers(`{
      "command": "npx",
      "args": ["-y", "@acme/crm-mcp"],
      "env": {
        "CRM_TOKEN": "${canary}",
        "FASTMCP_LOG_LEVEL": "ERROR"
      },
      "timeout": 60000
    }`),
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'OpenCode',
    path: '.config/opencode/opencode.json',
    source: 'https://opencode.ai/docs/mcp-servers',
    marked: `{
  "$schema": "https://opencode.ai/config.json",
  "mcp": {
⟦    "crm": {
      "type": "local",
      "command": ["npx", "-y", "@acme/crm-mcp"],
      "enabled": true,
      "environment": {
        "CRM_TOKEN": "${canary}"
      }
    },
⟧    "my-remote-mcp": {
      "type": "remote",
      "url": "https://my-mcp-server.example",
      "enabled": true,
      "headers": {
        "Authorization": "Bearer MY_API_KEY"
      }
    }
  }
}
`,
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'OpenCode',
    path: '.config/opencode/opencode.jsonc',
    source: 'https://opencode.ai/v2/docs/mcp-servers',
    marked: `{
  "$schema": "https://opencode.ai/config.json",
  "mcp": {
    "servers": {
      // Or ["bun", "x", "my-mcp-command"]
⟦      "crm": {
        "type": "remote",
        "url": "https://crm.acme.example/mcp",
        "headers": { "Authorization": "Bearer ${canary}" },
      },
⟧      "other": {
        "type": "local",
        "command": ["npx", "-y", "example-mcp-server"],
      },
    },
  },
}
`,
    secrets: ['Authorization'],
  },
  {
    client: 'Zed',
    path: '.config/zed/settings.json',
    source: 'https://zed.dev/docs/ai/mcp',
    marked: `// Zed settings
//
// For information on how to configure Zed, see the Zed
// documentation: https://zed.dev/docs/configuring-zed
{
  "ui_font_size": 16,
  "context_servers": {
    "postgres-context-server": {
      "settings": {
        "database_url": "postgresql://postgres@localhost/my_database",
      },
    },
⟦    "crm": {
      "source": "custom",
      "command": {
        "path": "/usr/local/bin/crm-mcp",
        "args": ["run"],
        "env": { "CRM_TOKEN": "${canary}" },
      },
      "settings": {
        "database_url": "postgresql://crm:${canary}@db.acme.example/crm",
      },
    },
⟧    // hosted
⟦    "hosted": {
      "settings": { "url": "https://crm.acme.example/mcp", "api_key": "${canary}" },
    },
⟧  },
  "theme": { "mode": "system", "light": "One Light", "dark": "One Dark" },
}
`,
    secrets: ['CRM_TOKEN', 'database_url', 'api_key'],
    entries: 2,
  },
  {
    client: 'Goose',
    path: '.config/goose/config.yaml',
    source: 'https://block.github.io/goose/docs/guides/config-files',
    marked: `# Model Configuration
GOOSE_PROVIDER: "anthropic"
GOOSE_MODEL: "claude-4.5-sonnet"
GOOSE_TEMPERATURE: 0.7

# Extensions Configuration
extensions:
  developer:
    bundled: true
    enabled: true
    name: developer
    timeout: 300
    type: builtin

  # the customer database
⟦  crm:
    enabled: true
    name: crm
    type: stdio
    cmd: npx
    args: ["-y", "@acme/crm-mcp"]
    description: |
      Customers:
        by name, by number

    env_keys: [CRM_REGION_KEY]
    envs:
      CRM_TOKEN: ${canary}
    timeout: 300
⟧
⟦  live:
    enabled: true
    name: "Live customers"
    type: websocket
    uri: "wss://crm.acme.example/mcp"
    headers: {Authorization: "Bearer ${canary}"}
⟧  memory:
    bundled: true
    enabled: true
    name: memory
    timeout: 300
    type: builtin
GOOSE_MODE: "smart_approve"
`,
    secrets: ['CRM_REGION_KEY', 'CRM_TOKEN', 'Authorization'],
    entries: 2,
  },
  {
    client: 'Continue',
    path: '.continue/config.yaml',
    source: 'https://docs.continue.dev/reference (with its anchors)',
    marked: `%YAML 1.1
---
name: My Config
version: 1.0.0
schema: v1
model_defaults: &model_defaults
  provider: openai
  apiKey: my-api-key
models:
  - name: mistral
    <<: *model_defaults
    model: mistral-7b-instruct
    roles: [chat, edit]
mcpServers:
  - name: My MCP Server
    command: uvx
    args:
      - mcp-server-sqlite
      - --db-path
      - ./test.db
    cwd: /Users/NAME/project
    env:
      NODE_ENV: production
  # the customer database
  ⟦- name: crm
    type: streamable-http
    url: https://crm.acme.example/mcp
    requestOptions:
      headers:
        Authorization: "Bearer ${canary}"
    connectionTimeout: 10000⟧ # milliseconds

rules:
  - Always answer in English
`,
    secrets: ['Authorization'],
  },
  {
    client: 'Continue',
    path: '.continue/mcpServers/customers.yaml',
    source: 'https://docs.continue.dev/customize/deep-dives/mcp (a block of its own)',
    marked: `name: Customers
version: 0.0.1
schema: v1
mcpServers:⟪ []⟫
⟦  - name: Customer database
    command: npx
    args: [-y, "@acme/crm-mcp"]
    env:
      CRM_TOKEN: ${canary}
⟧`,
    secrets: ['CRM_TOKEN'],
  },
  {
    client: 'LM Studio',
    path: '.lmstudio/mcp.json',
    source: 'https://lmstudio.ai/docs/app/mcp',
    marked: mcpServers(`{
      "url": "https://crm.acme.example/mcp",
      "headers": {
        "Authorization": "Bearer ${canary}"
      }
    }`),
    secrets: ['Authorization'],
  },
]

/** The file as it was, and as it has to be. */
export function bytesOf(marked: string): { readonly before: string; readonly after: string } {
  return {
    before: marked.replace(/⟪[^⟫]*⟫/g, '').replace(/[⟦⟧]/g, ''),
    after: marked.replace(/⟦[^⟧]*⟧/g, '').replace(/[⟪⟫]/g, ''),
  }
}

/** The server of these files, as the registry has it. */
export const crm = {
  server: 'io.acme/crm',
  aliases: ['crm-mcp'],
  package: { registryType: 'npm', identifier: '@acme/crm-mcp', version: '1.0.0' },
  url: 'https://crm.acme.example/mcp',
} as const
