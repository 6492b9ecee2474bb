// SPDX-License-Identifier: Apache-2.0
#include "common/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/byte_units.h"
#include "common/base/check.h"

namespace ballast {
namespace {

std::string EnvironmentName(const std::string& prefix, const std::string& flag) {
  std::string name = flag.substr(flag.rfind("--") + 2);
  name = absl::StrReplaceAll(name, {{"-", "_"}});
  return absl::StrCat(prefix, "_", absl::AsciiStrToUpper(name));
}

}  // namespace

bool ParseBytes(const std::string& text, uint64_t* bytes) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, digits);
  const std::string unit = digits == std::string::npos ? "" : text.substr(digits);
  static const auto* const kUnits = new std::map<std::string, uint64_t>{
      {"", 1},         {"B", 1},     {"KiB", KiB(1)}, {"MiB", MiB(1)},    {"GiB", GiB(1)},
      {"TiB", TiB(1)}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}};
  const auto it = kUnits->find(unit);
  uint64_t whole = 0;
  if (it == kUnits->end()) {
    return false;
  }
  if (absl::SimpleAtoi(number, &whole)) {
    return !__builtin_mul_overflow(whole, it->second, bytes);
  }
  double value = 0;
  if (!absl::SimpleAtod(number, &value) || value < 0 ||
      value * static_cast<double>(it->second) > 9e18) {
    return false;
  }
  *bytes = static_cast<uint64_t>(std::llround(value * static_cast<double>(it->second)));
  return true;
}

std::string VersionText() { return "ballast 0.1.0"; }

struct FlagSet::State {
  CLI::App* app = nullptr;
  CLI::Option* last = nullptr;
  std::string prefix;

  void Added(CLI::Option* option, const std::string& name) {
    last = option;
    option->envname(EnvironmentName(prefix, name));
  }
};

FlagSet::FlagSet() : state_(std::make_unique<State>()) {}
FlagSet::~FlagSet() = default;

FlagSet& FlagSet::String(const std::string& name, std::string* value, const std::string& help) {
  state_->Added(state_->app->add_option(name, *value, help)->capture_default_str(), name);
  return *this;
}

FlagSet& FlagSet::Strings(const std::string& name, std::vector<std::string>* values,
                          const std::string& help) {
  state_->Added(state_->app->add_option(name, *values, help)
                    ->delimiter(',')
                    ->capture_default_str()
                    ->expected(1)
                    ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
                name);
  return *this;
}

FlagSet& FlagSet::Texts(const std::string& name, std::vector<std::string>* values,
                        const std::string& help) {
  state_->Added(state_->app->add_option(name, *values, help)
                    ->expected(1)
                    ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
                name);
  return *this;
}

FlagSet& FlagSet::Uint(const std::string& name, uint32_t* value, const std::string& help) {
  state_->Added(state_->app->add_option(name, *value, help)->capture_default_str(), name);
  return *this;
}

FlagSet& FlagSet::Uint(const std::string& name, uint64_t* value, const std::string& help) {
  state_->Added(state_->app->add_option(name, *value, help)->capture_default_str(), name);
  return *this;
}

FlagSet& FlagSet::Bool(const std::string& name, bool* value, const std::string& help) {
  state_->Added(state_->app->add_flag(name, *value, help), name);
  return *this;
}

FlagSet& FlagSet::Bytes(const std::string& name, uint64_t* value, const std::string& help) {
  const auto parse = [name, value](const CLI::results_t& results) {
    if (!ParseBytes(results.back(), value)) {
      throw CLI::ValidationError(
          name, absl::StrCat("'", results.back(), "' is no size; write 64MiB, 10GB or 4096"));
    }
    return true;
  };
  CLI::Option* option = state_->app->add_option(name, parse, help);
  option->type_name("BYTES")->default_str(*value == 0 ? "0" : FormatBytes(*value));
  state_->Added(option, name);
  return *this;
}

FlagSet& FlagSet::Duration(const std::string& name, absl::Duration* value,
                           const std::string& help) {
  const auto parse = [name, value](const CLI::results_t& results) {
    if (!absl::ParseDuration(results.back(), value) || *value < absl::ZeroDuration()) {
      throw CLI::ValidationError(
          name, absl::StrCat("'", results.back(), "' is no duration; write 5s, 200ms or 1h30m"));
    }
    return true;
  };
  CLI::Option* option = state_->app->add_option(name, parse, help);
  option->type_name("DURATION")->default_str(absl::FormatDuration(*value));
  state_->Added(option, name);
  return *this;
}

FlagSet& FlagSet::Positional(const std::string& name, std::string* value, const std::string& help,
                             bool required) {
  state_->last = state_->app->add_option(name, *value, help)->required(required);
  return *this;
}

FlagSet& FlagSet::Positionals(const std::string& name, std::vector<std::string>* values,
                              const std::string& help, bool required) {
  state_->last = state_->app->add_option(name, *values, help)->required(required);
  return *this;
}

FlagSet& FlagSet::Environment(const std::string& variable) {
  CHECK(state_->last != nullptr);
  state_->last->envname(variable);
  return *this;
}

FlagSet& FlagSet::Required() {
  CHECK(state_->last != nullptr);
  state_->last->required();
  return *this;
}

FlagSet& FlagSet::Footer(const std::string& text) {
  state_->app->footer(text);
  return *this;
}

struct CommandLine::State {
  explicit State(const std::string& description, const std::string& program)
      : app(description, program) {}
  CLI::App app;
  std::string prefix;
  std::vector<std::unique_ptr<FlagSet>> sets;
  std::map<std::string, CLI::App*> verbs;  // " group join" -> its app
};

CommandLine::CommandLine(const std::string& program, const std::string& description,
                         const std::string& environment_prefix)
    : state_(std::make_unique<State>(description, program)) {
  state_->prefix = environment_prefix;
  state_->app.set_version_flag("--version", VersionText(), "Print the version and exit.");
  state_->app.set_help_flag("-h,--help", "Print this text and exit.");
  state_->app.set_config("--config", "", "Read flags from this file (name = value lines).");
  state_->app.option_defaults()->always_capture_default(false);
  state_->app.fallthrough();
  state_->sets.push_back(std::unique_ptr<FlagSet>(new FlagSet()));
  state_->sets.back()->state_->app = &state_->app;
  state_->sets.back()->state_->prefix = environment_prefix;
}

CommandLine::~CommandLine() = default;

FlagSet& CommandLine::global() { return *state_->sets.front(); }

FlagSet& CommandLine::Verb(const std::string& name, const std::string& help) {
  CLI::App* app = &state_->app;
  const std::vector<std::string> words = absl::StrSplit(name, ' ');
  std::string path;
  for (size_t i = 0; i < words.size(); ++i) {
    app->require_subcommand(1);
    absl::StrAppend(&path, " ", words[i]);
    CLI::App*& next = state_->verbs[path];
    if (next == nullptr) {
      next = app->add_subcommand(words[i], "");
      next->fallthrough();
    }
    app = next;
  }
  app->description(help);
  state_->sets.push_back(std::unique_ptr<FlagSet>(new FlagSet()));
  state_->sets.back()->state_->app = app;
  state_->sets.back()->state_->prefix = state_->prefix;
  return *state_->sets.back();
}

CommandLine::Outcome CommandLine::Parse(const std::vector<std::string>& arguments) {
  Outcome outcome;
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    state_->app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = state_->app.exit(error, out, err);
    if (code == 0) {
      outcome.text = out.str();
      return outcome;
    }
    outcome.exit_code = 2;
    std::string text = error.what();
    text = text.substr(0, text.find('\n'));
    outcome.text = absl::StrCat(state_->app.get_name(), ": ", text, " (see ",
                                state_->app.get_name(), " --help)\n");
    return outcome;
  }
  outcome.proceed = true;
  const CLI::App* app = &state_->app;
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    absl::StrAppend(&outcome.verb, outcome.verb.empty() ? "" : " ", app->get_name());
  }
  return outcome;
}

std::string CommandLine::ParseOrExit(int argc, char** argv) {
  const Outcome outcome = Parse(std::vector<std::string>(argv + 1, argv + argc));
  if (!outcome.proceed) {
    (outcome.exit_code == 0 ? std::cout : std::cerr) << outcome.text << std::flush;
    std::exit(outcome.exit_code);
  }
  return outcome.verb;
}

}  // namespace ballast
