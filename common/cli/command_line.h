// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

// Flags, verbs, a config file and environment variables, the same way in every binary (CLI11
// behind it, in one source file). A value comes from the command line, else from the config file,
// else from the environment, else it keeps what the variable held before.

namespace ballast {

// The flags and positional arguments of the program or of one verb. Pointers must outlive Parse.
// `name` is "--listen" or "-l,--listen"; `help` is one sentence with the unit; defaults are shown
// from the variable's value. The environment variable of --some-flag is PREFIX_SOME_FLAG.
class FlagSet {
 public:
  FlagSet& String(const std::string& name, std::string* value, const std::string& help);
  FlagSet& Strings(const std::string& name, std::vector<std::string>* values,
                   const std::string& help);  // repeated or comma-separated
  FlagSet& Texts(const std::string& name, std::vector<std::string>* values,
                 const std::string& help);  // repeated; commas are part of the text
  FlagSet& Uint(const std::string& name, uint32_t* value, const std::string& help);
  FlagSet& Uint(const std::string& name, uint64_t* value, const std::string& help);
  FlagSet& Bool(const std::string& name, bool* value, const std::string& help);
  // "64MiB", "1.5GiB", "10GB", "4096": bytes.
  FlagSet& Bytes(const std::string& name, uint64_t* value, const std::string& help);
  // "5s", "200ms", "1h30m": a duration with a unit, not negative.
  FlagSet& Duration(const std::string& name, absl::Duration* value, const std::string& help);

  FlagSet& Positional(const std::string& name, std::string* value, const std::string& help,
                      bool required = true);
  FlagSet& Positionals(const std::string& name, std::vector<std::string>* values,
                       const std::string& help, bool required = true);

  // The last flag named is read from this environment variable, whatever the prefix.
  FlagSet& Environment(const std::string& variable);
  // The last flag named becomes mandatory.
  FlagSet& Required();
  // Text below the flags in --help: examples, notes.
  FlagSet& Footer(const std::string& text);

 private:
  friend class CommandLine;
  struct State;
  std::unique_ptr<State> state_;
  FlagSet();

 public:
  ~FlagSet();
};

class CommandLine {
 public:
  // `environment_prefix`: "BALLAST_MASTER" makes BALLAST_MASTER_LISTEN of --listen.
  // Adds --help, --version and --config FILE (TOML-like, sections named after verbs).
  CommandLine(const std::string& program, const std::string& description,
              const std::string& environment_prefix);
  ~CommandLine();

  // Flags that may stand before or after any verb.
  FlagSet& global();
  // A verb, "run", or of two words, "group join". With verbs declared, exactly one is required.
  FlagSet& Verb(const std::string& name, const std::string& help);

  struct Outcome {
    bool proceed = false;  // false: print `text` (to stderr if exit_code is not 0) and exit
    int exit_code = 0;
    std::string text;
    std::string verb;  // the one given, words separated by one space
  };
  // `arguments` without the program's name. Misuse: exit_code 2 and a text of one line.
  Outcome Parse(const std::vector<std::string>& arguments);

  // Parse(argv), doing what the outcome says. Returns the verb.
  std::string ParseOrExit(int argc, char** argv);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "64MiB" and so on; false if malformed or beyond 64 bits.
bool ParseBytes(const std::string& text, uint64_t* bytes);

// The version that --version prints: "ballast 0.1.0".
std::string VersionText();

}  // namespace ballast
