// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/request.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/types/limits.h"
#include "gateway/core/json_value.h"

namespace ballast::gateway {
namespace {

constexpr size_t kNameBytesMax = 1024;
constexpr uint64_t kShardMax = 65535;
constexpr size_t kExcerptBytes = 100;

template <typename... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// --- fields -------------------------------------------------------------------------------------

absl::StatusOr<JsonValue*> Field(JsonValue& body, absl::string_view name) {
  JsonValue* value = body.Find(name);
  if (value == nullptr) {
    return Malformed("'", name, "' is missing");
  }
  return value;
}

// The name of a server, node or chunk.
absl::StatusOr<std::string> NameIn(JsonValue* value, absl::string_view what) {
  std::string* text = value->AsString();
  if (text == nullptr) {
    return Malformed("'", what, "' must be a string");
  }
  if (text->empty() || text->size() > kNameBytesMax) {
    return Malformed("'", what, "' must have 1 to ", kNameBytesMax, " bytes");
  }
  return std::move(*text);
}

absl::StatusOr<std::string> NameField(JsonValue& body, absl::string_view name) {
  ASSIGN_OR_RETURN(JsonValue * value, Field(body, name));
  return NameIn(value, name);
}

// In order of first appearance, each once.
absl::StatusOr<std::vector<std::string>> NamesField(JsonValue& body, absl::string_view name) {
  ASSIGN_OR_RETURN(JsonValue * value, Field(body, name));
  JsonValue::Array* items = value->AsArray();
  if (items == nullptr) {
    return Malformed("'", name, "' must be an array of strings");
  }
  absl::flat_hash_set<absl::string_view> seen;
  seen.reserve(items->size());
  std::vector<std::string> names;
  names.reserve(items->size());  // so that what `seen` looks at stays where it is
  for (JsonValue& item : *items) {
    auto text = NameIn(&item, name);
    if (!text.ok()) {
      return Malformed("'", name, "' must be an array of strings of 1 to ", kNameBytesMax,
                       " bytes");
    }
    if (!seen.contains(*text)) {
      names.push_back(*std::move(text));
      seen.insert(names.back());
    }
  }
  return names;
}

absl::StatusOr<std::string> KeyField(JsonValue& body) {
  ASSIGN_OR_RETURN(JsonValue * value, Field(body, "key"));
  std::string* text = value->AsString();
  std::string key = text != nullptr ? std::move(*text) : CompactText(*value);
  if (key.empty() || key.size() > kKeyBytesMax) {
    return Malformed("'key' must have 1 to ", kKeyBytesMax, " bytes");
  }
  return key;
}

absl::StatusOr<std::string> ValueField(JsonValue& body, absl::string_view name) {
  ASSIGN_OR_RETURN(const JsonValue* value, Field(body, name));
  return CompactText(*value);
}

// --- bodies -------------------------------------------------------------------------------------

absl::StatusOr<Request> ParseInit(JsonValue& body) {
  InitRequest request;
  ASSIGN_OR_RETURN(request.node_id, NameField(body, "node_id"));
  ASSIGN_OR_RETURN(request.node_ids, NamesField(body, "node_ids"));
  return request;
}

absl::StatusOr<Request> ParseHeartbeat(JsonValue& body) {
  HeartbeatRequest request;
  ServerHeartbeat& heartbeat = request.heartbeat;
  ASSIGN_OR_RETURN(heartbeat.server, NameField(body, "server"));
  ASSIGN_OR_RETURN(heartbeat.chunks, NamesField(body, "chunks"));
  ASSIGN_OR_RETURN(const JsonValue* usage, Field(body, "disk_usage_pct"));
  const auto percent = usage->AsDouble();
  if (!percent.has_value() || !(*percent >= 0 && *percent <= 100)) {
    return Malformed("'disk_usage_pct' must be a number from 0 to 100");
  }
  heartbeat.disk_usage_pct = *percent;
  if (JsonValue* health = body.Find("health"); health != nullptr) {
    std::string* text = health->AsString();
    if (text == nullptr || text->size() > kNameBytesMax) {
      return Malformed("'health' must be a string of at most ", kNameBytesMax, " bytes");
    }
    heartbeat.health = std::move(*text);
  }
  return request;
}

absl::StatusOr<Request> ParseMoves(JsonValue& body) {
  ASSIGN_OR_RETURN(JsonValue * value, Field(body, "moves"));
  JsonValue::Array* items = value->AsArray();
  if (items == nullptr) {
    return Malformed("'moves' must be an array of objects with chunk, from and to");
  }
  RebalanceExecuteRequest request;
  request.moves.reserve(items->size());
  for (size_t i = 0; i < items->size(); ++i) {
    JsonValue& item = (*items)[i];
    ChunkMove move;
    absl::Status status;
    const auto read = [&](absl::string_view field, std::string* target) {
      auto name = NameField(item, field);
      if (name.ok()) {
        *target = *std::move(name);
      } else if (status.ok()) {
        status = Malformed("'moves' entry ", i, ": ", name.status().message());
      }
    };
    read("chunk", &move.chunk);
    read("from", &move.from);
    read("to", &move.to);
    RETURN_IF_ERROR(status);
    request.moves.push_back(std::move(move));
  }
  return request;
}

absl::StatusOr<GroupConfiguration> ParseConfiguration(JsonValue& body) {
  GroupConfiguration config;
  ASSIGN_OR_RETURN(const JsonValue* version, Field(body, "version"));
  const auto number = version->AsUint64();
  if (!number.has_value()) {
    return Malformed("'version' must be an integer from 0");
  }
  config.version = *number;
  ASSIGN_OR_RETURN(const JsonValue* shards, Field(body, "shards"));
  const JsonValue::Array* items = shards->AsArray();
  bool valid = items != nullptr;
  for (size_t i = 0; valid && i < items->size(); ++i) {
    const auto shard = (*items)[i].AsUint64();
    valid = shard.has_value() && *shard <= kShardMax;
    config.shards.push_back(valid ? static_cast<uint32_t>(*shard) : 0);
  }
  if (!valid) {
    return Malformed("'shards' must be an array of integers from 0 to ", kShardMax);
  }
  std::sort(config.shards.begin(), config.shards.end());
  config.shards.erase(std::unique(config.shards.begin(), config.shards.end()), config.shards.end());
  return config;
}

absl::StatusOr<Request> ParseSetConfig(JsonValue& body) {
  SetConfigRequest request;
  ASSIGN_OR_RETURN(request.config, ParseConfiguration(body));
  return request;
}

absl::StatusOr<Request> ParseConfigUpdate(JsonValue& body) {
  ConfigUpdateRequest request;
  ASSIGN_OR_RETURN(request.config, ParseConfiguration(body));
  return request;
}

absl::StatusOr<Request> ParseAddServer(JsonValue& body) {
  AddServerRequest request;
  ASSIGN_OR_RETURN(request.server, NameField(body, "server"));
  if (const JsonValue* weight = body.Find("weight"); weight != nullptr) {
    request.weight = weight->AsDouble();
    if (!request.weight.has_value() || !(*request.weight > 0)) {
      return Malformed("'weight' must be a number above 0");
    }
  }
  return request;
}

absl::StatusOr<Request> ParseRemoveServer(JsonValue& body) {
  RemoveServerRequest request;
  ASSIGN_OR_RETURN(request.server, NameField(body, "server"));
  return request;
}

absl::StatusOr<Request> ParseGetServer(JsonValue& body) {
  GetServerRequest request;
  ASSIGN_OR_RETURN(request.key, KeyField(body));
  return request;
}

absl::StatusOr<Request> ParseRead(JsonValue& body) {
  ReadRequest request;
  ASSIGN_OR_RETURN(request.key, KeyField(body));
  return request;
}

absl::StatusOr<Request> ParseWrite(JsonValue& body) {
  WriteRequest request;
  ASSIGN_OR_RETURN(request.key, KeyField(body));
  ASSIGN_OR_RETURN(request.value, ValueField(body, "value"));
  return request;
}

absl::StatusOr<Request> ParseCas(JsonValue& body) {
  CasRequest request;
  ASSIGN_OR_RETURN(request.key, KeyField(body));
  ASSIGN_OR_RETURN(request.from, ValueField(body, "from"));
  ASSIGN_OR_RETURN(request.to, ValueField(body, "to"));
  if (const JsonValue* create = body.Find("create_if_not_exists"); create != nullptr) {
    const bool* wanted = std::get_if<bool>(&create->value);
    if (wanted == nullptr || *wanted) {
      return Malformed("'create_if_not_exists' is not supported: write the key first");
    }
  }
  return request;
}

absl::StatusOr<Request> ParseServerStatus(JsonValue& /*body*/) { return ServerStatusRequest(); }
absl::StatusOr<Request> ParseRebalanceCheck(JsonValue& /*body*/) { return RebalanceCheckRequest(); }

using Parser = absl::StatusOr<Request> (*)(JsonValue& body);
Parser ParserOf(absl::string_view type) {
  static const auto* const kParsers = new absl::flat_hash_map<absl::string_view, Parser>{
      {"init", ParseInit},
      {"heartbeat", ParseHeartbeat},
      {"server_status", ParseServerStatus},
      {"rebalance_check", ParseRebalanceCheck},
      {"rebalance_execute", ParseMoves},
      {"set_config", ParseSetConfig},
      {"config_update", ParseConfigUpdate},
      {"add_server", ParseAddServer},
      {"remove_server", ParseRemoveServer},
      {"get_server", ParseGetServer},
      {"read", ParseRead},
      {"write", ParseWrite},
      {"cas", ParseCas},
  };
  const auto it = kParsers->find(type);
  return it != kParsers->end() ? it->second : nullptr;
}

// --- the envelope -------------------------------------------------------------------------------

ParsedMessage Nobody(absl::string_view text) { return Unanswerable{std::string(text)}; }

Request Refuse(ErrorCode code, absl::string_view text) { return Refusal{code, std::string(text)}; }

// What an envelope's field is, decoded; nothing unless it is told.
std::optional<JsonValue> Told(const EnvelopeFacts::Field& field, bool quoted) {
  if (!field.told) {
    return std::nullopt;
  }
  auto value = ParseJson(quoted ? absl::StrCat("\"", field.literal, "\"") : field.literal);
  return value.ok() ? std::optional(*std::move(value)) : std::nullopt;
}

Request ParseRequest(const std::string& type, JsonValue& body) {
  const Parser parser = ParserOf(type);
  if (parser == nullptr) {
    return Refuse(ErrorCode::kNotSupported,
                  absl::StrCat("unknown type '", Excerpt(type, kExcerptBytes), "'"));
  }
  auto request = parser(body);
  if (!request.ok()) {
    return Refuse(ErrorCode::kMalformedRequest,
                  absl::StrCat(type, ": ", request.status().message()));
  }
  return *std::move(request);
}

}  // namespace

ParsedMessage RefuseBadValue(absl::string_view problem, const EnvelopeFacts& facts) {
  auto src = Told(facts.src, true);
  auto dest = Told(facts.dest, true);
  const auto msg_id = Told(facts.msg_id, false);
  if (!src.has_value() || !msg_id.has_value() || !msg_id->IsInteger()) {
    return Nobody(problem);
  }
  Message message;
  message.src = std::move(*src->AsString());
  if (dest.has_value()) {
    message.dest = std::move(*dest->AsString());
  }
  message.msg_id = CompactText(*msg_id);
  message.request = Refuse(ErrorCode::kMalformedRequest, problem);
  return message;
}

ParsedMessage ParseMessage(std::string text) {
  auto parsed = ParseJson(text);
  if (!parsed.ok()) {
    // The envelope may be good all the same.
    JsonScanner scanner(JsonLimits().depth_max);
    scanner.Drain();
    scanner.Scan(text);
    return RefuseBadValue(parsed.status().message(), scanner.facts());
  }
  std::string().swap(text);  // the tree has all of it, and a large one need not be held twice
  JsonValue* body = parsed->Find("body");
  JsonValue* src = parsed->Find("src");
  JsonValue* dest = parsed->Find("dest");
  const JsonValue* msg_id = body != nullptr ? body->Find("msg_id") : nullptr;
  if (parsed->AsObject() == nullptr) {
    return Nobody("a message must be an object");
  }
  if (src == nullptr || src->AsString() == nullptr) {
    return Nobody("'src' must be a string");
  }
  if (body == nullptr || body->AsObject() == nullptr) {
    return Nobody("'body' must be an object");
  }
  if (msg_id == nullptr || !msg_id->IsInteger()) {
    return Nobody("'msg_id' must be an integer");
  }
  Message message;
  message.src = std::move(*src->AsString());
  message.msg_id = CompactText(*msg_id);
  if (dest == nullptr || dest->AsString() == nullptr) {
    message.request = Refuse(ErrorCode::kMalformedRequest, "'dest' must be a string");
    return message;
  }
  message.dest = std::move(*dest->AsString());
  JsonValue* type = body->Find("type");
  if (type == nullptr || type->AsString() == nullptr) {
    message.request = Refuse(ErrorCode::kMalformedRequest, "'type' must be a string");
    return message;
  }
  message.type = std::move(*type->AsString());
  if (ParserOf(message.type) == nullptr && body->Find("in_reply_to") != nullptr) {
    // Two programs that answer each other's errors would never stop.
    return Nobody("a reply that was not asked for");
  }
  message.request = ParseRequest(message.type, *body);
  return message;
}

}  // namespace ballast::gateway
