#include "launch/supervise/beat.hpp"

#include "core/error.hpp"

#include <nlohmann/json.hpp>

#include <sstream>

namespace isoflop {

namespace {

using Json = nlohmann::json;

/// The member, or `otherwise` when it is missing or of another type.
template <class T>
T member(const Json& json, const char* name, T otherwise) {
  const auto found = json.find(name);
  if (found == json.end()) return otherwise;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    return otherwise;
  }
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string SupervisorAddress::text() const {
  std::string words = fmt::format("{} {} {} {}", key, attempt, patience, port);
  for (const std::string& address : addresses) words += " " + address;
  return words;
}

SupervisorAddress SupervisorAddress::parse(const std::string& text) {
  std::istringstream words(text);
  SupervisorAddress parsed;
  words >> parsed.key >> parsed.attempt >> parsed.patience >> parsed.port;
  if (!words || parsed.port <= 0 || parsed.patience <= 0)
    fail_user("{} is \"{}\", which no isoflop launch has set; unset it", kSupervisorVariable, text);
  for (std::string address; words >> address;) parsed.addresses.push_back(address);
  return parsed;
}

std::string line_of(const Hello& hello) {
  Json json = {
      {"hello", hello.key}, {"attempt", hello.attempt}, {"host", hello.host}, {"pid", hello.pid}};
  if (hello.rank >= 0) json["rank"] = hello.rank;
  if (hello.probe >= 0) {
    json["probe"] = hello.probe;
    json["program"] = hello.program;
    json["cores"] = hello.cores;
    json["address"] = hello.address;
    json["port"] = hello.port;
  }
  return dumped(json);
}

std::string line_of(const PulseReading& reading) {
  Json longest = Json::object();
  for (int i = 0; i < kPhases; ++i)
    if (const double seconds = reading.longest[static_cast<size_t>(i)]; seconds > 0)
      longest[name_of(static_cast<Phase>(i))] = seconds;
  return dumped({{"beat", name_of(reading.phase)},
                 {"for", reading.phase_seconds},
                 {"step", reading.step},
                 {"messages", reading.messages},
                 {"last", reading.last_message},
                 {"wait", reading.wait_seconds},
                 {"steps", reading.steps},
                 {"work", reading.work_seconds},
                 {"longest", longest}});
}

std::string line_of(const End& end) {
  return dumped({{"end", end.code}, {"text", end.text}});
}

RankLine parse_rank_line(const std::string& line) {
  RankLine parsed;
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return parsed;
  if (json.contains("hello")) {
    parsed.hello = Hello{.key = member<std::string>(json, "hello", ""),
                         .attempt = member(json, "attempt", 0),
                         .rank = member(json, "rank", -1),
                         .probe = member(json, "probe", -1),
                         .pid = member(json, "pid", 0),
                         .cores = member(json, "cores", 0),
                         .host = member<std::string>(json, "host", ""),
                         .program = member<std::string>(json, "program", ""),
                         .address = member<std::string>(json, "address", ""),
                         .port = member(json, "port", 0)};
  } else if (json.contains("beat")) {
    parsed.beat = Beat{.phase = member<std::string>(json, "beat", ""),
                       .phase_seconds = member(json, "for", 0.0),
                       .step = member<int64_t>(json, "step", 0),
                       .messages = member<uint64_t>(json, "messages", 0),
                       .last_message = member<std::string>(json, "last", ""),
                       .wait_seconds = member(json, "wait", 0.0),
                       .steps = member<int64_t>(json, "steps", 0),
                       .work_seconds = member(json, "work", 0.0),
                       .longest = member(json, "longest", std::map<std::string, double>())};
  } else if (json.contains("end")) {
    parsed.end = End{member(json, "end", 1), member<std::string>(json, "text", "")};
  }
  return parsed;
}

}  // namespace isoflop
