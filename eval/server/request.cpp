#include "eval/server/request.hpp"

#include "core/error.hpp"

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostStops = 16;
constexpr size_t kLongestStop = 1024;
constexpr size_t kMostKeys = 1000;  // of an object; the library looks keys up one by one
constexpr int kMostDepth = 64;

}  // namespace

Json parse_body(const std::string& text) {
  std::vector<size_t> keys;
  try {
    return Json::parse(text, [&](int depth, Json::parse_event_t event, Json&) {
      if (depth > kMostDepth) fail_user("the body nests deeper than {}", kMostDepth);
      if (event == Json::parse_event_t::object_start) keys.push_back(0);
      if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
      if (event == Json::parse_event_t::key && ++keys.back() > kMostKeys)
        fail_user("an object of the body has more than {} keys", kMostKeys);
      return true;
    });
  } catch (const Json::exception& e) {
    fail_user("the body is not valid JSON: {}", e.what());
  }
}

double number_in(const Json& body, const char* key, double otherwise, double least, double most) {
  const auto found = body.find(key);
  if (found == body.end() || found->is_null()) return otherwise;
  if (!found->is_number()) fail_user("{} must be a number", key);
  const double value = found->get<double>();
  if (!(value >= least && value <= most))
    fail_user("{} must be between {} and {}", key, least, most);
  return value;
}

int64_t integer_in(
    const Json& body, const char* key, int64_t otherwise, int64_t least, int64_t most) {
  const auto found = body.find(key);
  if (found == body.end() || found->is_null()) return otherwise;
  if (!found->is_number_integer()) fail_user("{} must be an integer", key);
  const double value = found->get<double>();
  if (value < static_cast<double>(least) || value > static_cast<double>(most))
    fail_user("{} must be between {} and {}", key, least, most);
  return found->get<int64_t>();
}

bool flag_in(const Json& body, const char* key) {
  const auto found = body.find(key);
  if (found == body.end() || found->is_null()) return false;
  if (!found->is_boolean()) fail_user("{} must be true or false", key);
  return found->get<bool>();
}

std::vector<std::string> stops_in(const Json& body) {
  const auto found = body.find("stop");
  if (found == body.end() || found->is_null()) return {};
  const Json list = found->is_array() ? *found : Json::array({*found});
  if (list.size() > kMostStops) fail_user("stop has more than {} texts", kMostStops);
  std::vector<std::string> stops;
  for (const Json& stop : list) {
    if (!stop.is_string() || stop.get_ref<const std::string&>().size() > kLongestStop)
      fail_user("stop must be text of at most {} bytes, or a list of such", kLongestStop);
    stops.push_back(stop);
  }
  return stops;
}

void refuse_unsupported(const Json& body) {
  const auto harmless = [](const Json& value) {
    return value.is_null() || value == false || value == 0 || value == Json::object() ||
           value == Json::array();
  };
  for (const char* key : {"logprobs", "top_logprobs", "echo", "suffix", "logit_bias",
                          "presence_penalty", "frequency_penalty", "functions", "audio"})
    if (body.contains(key) && !harmless(body[key])) fail_user("{} is not supported", key);
  for (const char* key : {"n", "best_of"})
    if (integer_in(body, key, 1, 1, INT64_MAX) != 1)
      fail_user("{} can only be 1: a request is answered once", key);
  const auto format = body.find("response_format");
  if (format != body.end() && !format->is_null() &&
      !(format->is_object() && format->value("type", Json()) == "text"))
    fail_user("response_format is not supported");
}

Json messages_in(const Json& body) {
  const auto found = body.find("messages");
  if (found == body.end() || !found->is_array() || found->empty())
    fail_user("messages must be a list with at least one message");
  Json messages = *found;
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      fail_user("each message must be an object with a role");
    if (!message.contains("content") || message["content"].is_null()) {
      message["content"] = "";
    } else if (message["content"].is_array()) {
      std::string text;
      for (const Json& part : message["content"]) {
        if (!part.is_object() || part.value("type", Json()) != "text" ||
            !part.value("text", Json()).is_string())
          fail_user("content can only have parts of type text");
        text += part["text"].get_ref<const std::string&>();
      }
      message["content"] = text;
    } else if (!message["content"].is_string()) {
      fail_user("the content of a message must be text");
    }
  }
  return messages;
}

std::vector<int32_t> prompt_in(const Json& body, const Tokenizer& tokenizer) {
  const auto found = body.find("prompt");
  Json prompt = found == body.end() || found->is_null() ? Json("") : *found;
  if (prompt.is_array() && prompt.size() == 1 && !prompt[0].is_number()) prompt = prompt[0];
  std::vector<int32_t> ids;
  if (prompt.is_string()) {
    tokenizer.encode(prompt.get_ref<const std::string&>(), ids);
  } else if (prompt.is_array()) {
    for (const Json& id : prompt) {
      if (!id.is_number_integer() || id.get<double>() < 0 ||
          id.get<double>() >= tokenizer.vocabulary())
        fail_user("prompt must be one text, or the ids of one");
      ids.push_back(id.get<int32_t>());
    }
  } else {
    fail_user("prompt must be one text, or the ids of one");
  }
  if (ids.empty() && tokenizer.separator() >= 0) ids.push_back(tokenizer.separator());
  if (ids.empty()) fail_user("prompt is empty, and this model needs something to start from");
  return ids;
}

}  // namespace isoflop
