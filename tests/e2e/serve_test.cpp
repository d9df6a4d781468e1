// chat and serve as programs: a model trained for one step, a free port on loopback.
#include "tests/e2e/tiny_run.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include <atomic>

namespace isoflop::test {
namespace {

using Json = nlohmann::json;

/// A connection to 127.0.0.1; every wait ends after ten seconds.
class Client {
 public:
  explicit Client(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval ten = {10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &ten, sizeof(ten));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  void send(const std::string& text) { ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL); }
  std::string read_all() {
    std::string text;
    char chunk[4096];
    for (ssize_t n; (n = ::recv(socket_, chunk, sizeof(chunk), 0)) > 0;)
      text.append(chunk, static_cast<size_t>(n));
    return text;
  }

 private:
  int socket_;
  bool connected_ = false;
};

struct Answer {
  int status = 0;
  std::string body;
  Json json() const { return Json::parse(body, nullptr, false); }
};

std::string request_text(const std::string& method,
                         const std::string& path,
                         const std::string& body) {
  return method + " " + path +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

Answer ask(int port,
           const std::string& method,
           const std::string& path,
           const std::string& body = "") {
  Client client(port);
  client.send(request_text(method, path, body));
  const std::string all = client.read_all();
  const size_t end = all.find("\r\n\r\n");
  if (end == all.npos) return {};
  return {std::stoi(all.substr(9, 3)), all.substr(end + 4)};
}

Answer post(int port, const std::string& path, const Json& body) {
  return ask(port, "POST", path, body.dump());
}

/// The text of a stream's chunks; its framing by length is of no interest here.
std::string streamed_text(const std::string& body, const char* part) {
  std::string text;
  for (size_t at = body.find("data: {"); at != body.npos; at = body.find("data: {", at + 1)) {
    const Json json = Json::parse(body.substr(at + 6, body.find("\n\n", at) - at - 6));
    for (const Json& choice : json["choices"])
      text += std::string(part) == "text" ? choice.value("text", "")
                                          : choice["delta"].value("content", "");
  }
  return text;
}

class Serve : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir;
    const auto at = folder_->path();
    const std::string text = write_text(at / "text.txt", tiny_text(20'000));
    const std::string config = write_text(at / "run.toml", tiny_config(text));
    const ProgramResult trained =
        run_isoflop({"train", config, "--out", run(), "model.context=256", "schedule.steps=1",
                     "schedule.slots=1", "schedule.micro_batch=1", "--quiet"});
    ASSERT_EQ(trained.code, 0) << trained.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string run() { return (folder_->path() / "run").string(); }

  void start(std::vector<std::string> flags) {
    std::vector<std::string> words = {"serve",         run(), "--port", "0",   "--json",
                                      "--temperature", "0",   "--name", "tiny"};
    words.insert(words.end(), flags.begin(), flags.end());
    program_ = std::make_unique<Program>(words);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (port_ == 0 && std::chrono::steady_clock::now() < until) {
      const std::string said = program_->said();
      const size_t at = said.find("127.0.0.1:");
      if (at != said.npos && said.find("serves", at) != said.npos)
        port_ = std::stoi(said.substr(at + 10));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_GT(port_, 0) << program_->said();
  }
  void end() {
    program_->send(SIGTERM);
    EXPECT_TRUE(program_->ended_within(std::chrono::seconds(15)));
    EXPECT_EQ(program_->wait().code, 0);
  }

  std::unique_ptr<Program> program_;
  int port_ = 0;
  static TempDir* folder_;
};
TempDir* Serve::folder_ = nullptr;

TEST_F(Serve, AnswersInOpenAisShape) {
  start({"--chat-template", "chatml"});
  EXPECT_EQ(ask(port_, "GET", "/health").json()["status"], "ok");
  EXPECT_EQ(ask(port_, "GET", "/v1/models").json()["data"][0]["id"], "tiny");
  EXPECT_NE(ask(port_, "GET", "/metrics").body.find("isoflop_serve_waiting 0"), std::string::npos);

  const Json chat = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"max_tokens", 12}};
  const Answer first = post(port_, "/v1/chat/completions", chat);
  ASSERT_EQ(first.status, 200) << first.body;
  const Json json = first.json();
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  EXPECT_GT(json["usage"]["prompt_tokens"], 10);

  Json stream = chat;
  stream["stream"] = true;
  stream["stream_options"] = {{"include_usage", true}};
  const Answer chunks = post(port_, "/v1/chat/completions", stream);
  EXPECT_EQ(streamed_text(chunks.body, "content"), json["choices"][0]["message"]["content"]);
  EXPECT_NE(chunks.body.find("data: [DONE]"), std::string::npos);
  EXPECT_NE(chunks.body.find("\"cached_tokens\":"), std::string::npos);

  const Answer text = post(port_, "/v1/completions", {{"prompt", "the sea"}, {"max_tokens", 5}});
  EXPECT_EQ(text.json()["object"], "text_completion");
  const ProgramResult same =
      run_isoflop({"generate", run(), "the sea", "-n", "5", "--temperature", "0", "--json"});
  EXPECT_EQ(text.json()["choices"][0]["text"], Json::parse(same.out)["text"]);
  end();
}

TEST_F(Serve, RefusesWhatItCannotDoInOpenAisShape) {
  start({"--max-body", "4096", "--max-tokens", "7"});
  const auto message = [](const Answer& a) {
    return a.json()["error"]["message"].get<std::string>();
  };
  const Json hi = {{{"role", "user"}, {"content", "Hi"}}};
  const Answer base = post(port_, "/v1/chat/completions", {{"messages", hi}});
  EXPECT_EQ(base.status, 400);
  EXPECT_NE(message(base).find("is a base model"), std::string::npos);
  EXPECT_EQ(base.json()["error"]["type"], "invalid_request_error");
  EXPECT_EQ(ask(port_, "POST", "/v1/completions", "{").status, 400);
  EXPECT_EQ(ask(port_, "POST", "/v1/completions", "[]").status, 400);
  EXPECT_EQ(ask(port_, "GET", "/nosuch").status, 404);
  EXPECT_TRUE(ask(port_, "GET", "/nosuch").json().contains("error"));
  const Answer large = post(port_, "/v1/completions", {{"prompt", std::string(5000, 'x')}});
  EXPECT_EQ(large.status, 413);
  EXPECT_TRUE(large.json().contains("error"));
  const Answer context = post(port_, "/v1/completions", {{"prompt", std::string(3000, '#')}});
  EXPECT_EQ(context.json()["error"]["code"], "context_length_exceeded");
  for (const char* wrong : {R"({"temperature": -1})", R"({"n": 2})", R"({"logprobs": 3})",
                            R"({"stop": 5})", R"({"max_tokens": 0})", R"({"prompt": [1, 99999]})",
                            R"({"stream": "yes"})", R"({"seed": 1.5})"})
    EXPECT_EQ(ask(port_, "POST", "/v1/completions", wrong).status, 400) << wrong;
  // More tokens than the server gives are cut, not refused.
  const Answer cut = post(port_, "/v1/completions", {{"prompt", "the"}, {"max_tokens", 1000}});
  EXPECT_EQ(cut.json()["usage"]["completion_tokens"], 7);
  end();
}

TEST_F(Serve, OutlivesSilentAndSlowClients) {
  start({"--connections", "4", "--queue", "2"});
  {
    std::vector<std::unique_ptr<Client>> silent;
    for (int i = 0; i < 4; ++i) {
      silent.push_back(std::make_unique<Client>(port_));
      ASSERT_TRUE(silent.back()->connected());
      silent.back()->send(i % 2 ? "POST /v1/comp" : "");
    }
    // The accepting thread takes them in order, so a fifth finds every thread taken: refused as
    // long as they may be honest, it then takes the place of the one that sends longest.
    Answer fifth;
    for (int i = 0; i < 1000 && fifth.status != 200; ++i) {
      fifth = ask(port_, "GET", "/health");
      if (fifth.status != 200) {
        ASSERT_EQ(fifth.status, 503);
        EXPECT_EQ(fifth.json()["error"]["type"], "server_error");
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    EXPECT_EQ(fifth.status, 200);
    EXPECT_EQ(silent.front()->read_all(), "") << "closed in its favour";
  }
  // Once they have gone their threads are free again.
  Answer healthy;
  for (int i = 0; i < 200 && healthy.status != 200; ++i) {
    healthy = ask(port_, "GET", "/health");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(healthy.status, 200);

  std::atomic<int> answered{0}, refused{0}, other{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i)
    clients.emplace_back([&, i] {
      if (i % 4 == 3) {  // asks and leaves
        Client leaves(port_);
        leaves.send(request_text("POST", "/v1/completions", R"({"prompt": "a", "stream": true})"));
        return;
      }
      const Answer a = post(port_, "/v1/completions",
                            {{"prompt", "the sea"}, {"max_tokens", 20}, {"stream", i % 2 == 0}});
      ++(a.status == 200 ? answered : a.status == 503 ? refused : other);
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered + refused, 9);
  EXPECT_GE(answered, 1);
  EXPECT_EQ(other, 0);
  Client pending(port_);  // does not keep it from ending
  pending.send("GET /hea");
  end();
}

TEST_F(Serve, ABaseModelRefusesToChat) {
  const ProgramResult refused = run_program("chat " + run(), ".", "Hi\n");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("is a base model"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--chat-template chatml"), std::string::npos);
}

TEST_F(Serve, AChatReadsOnlyWhatIsNew) {
  const ProgramResult chat =
      run_program("chat " + run() + " --chat-template chatml --temperature 0 -n 4 --json", ".",
                  "one\n\ntwo\n/new\nthree\n");
  ASSERT_EQ(chat.code, 0) << chat.err;
  const Json turns = Json::parse(chat.out)["turns"];
  ASSERT_EQ(turns.size(), 3u);
  const std::string first = turns[0]["prompt"], second = turns[1]["prompt"];
  EXPECT_EQ(first, "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(second, first + turns[0]["text"].get<std::string>() +
                        "<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(turns[0]["reused_tokens"], 0);
  // Nearly all of it: tokens around the seam may be cut otherwise in the longer text.
  EXPECT_GT(turns[1]["reused_tokens"].get<size_t>(), turns[0]["prompt_ids"].size() / 2);
  EXPECT_EQ(turns[2]["prompt"].get<std::string>().find("two"), std::string::npos);
}

TEST_F(Serve, AFullContextForgetsTheOldestTurns) {
  std::string lines;
  for (int i = 0; i < 12; ++i) lines += "the ship lay at anchor\n";
  const ProgramResult chat = run_program(
      "chat " + run() + " --chat-template vicuna --system S --temperature 0 -n 8 --json", ".",
      lines);
  ASSERT_EQ(chat.code, 0) << chat.err;
  EXPECT_NE(chat.err.find("oldest messages are forgotten"), std::string::npos) << chat.err;
  const Json turns = Json::parse(chat.out)["turns"];
  for (const Json& turn : turns) EXPECT_EQ(turn["prompt"].get<std::string>().rfind("S\n", 0), 0u);
  const ProgramResult too_long = run_program("chat " + run() + " --chat-template chatml --json",
                                             ".", std::string(3000, '#') + "\n");
  EXPECT_EQ(too_long.code, 2);
  EXPECT_NE(too_long.err.find("the model's context is 256"), std::string::npos);
}

TEST_F(Serve, AnExportedTemplateIsUsed) {
  const std::string file = (folder_->path() / "chat.gguf").string();
  const ProgramResult made = run_isoflop(
      {"export", run(), "--type", "f32", "--out", file, "--chat-template", "zephyr", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(Json::parse(made.out)["certificate"]["kind"], "chat model");
  const ProgramResult chat = run_program("chat " + file + " -n 2 --json", ".", "Hi\n");
  ASSERT_EQ(chat.code, 0) << chat.err;
  EXPECT_EQ(Json::parse(chat.out)["turns"][0]["prompt"],
            "<|user|>\nHi<|endoftext|>\n<|assistant|>\n");
  EXPECT_EQ(
      run_isoflop({"export", run(), "--out", file, "--force", "--chat-template", "nosuch"}).code,
      2);
  ASSERT_EQ(run_isoflop({"export", run(), "--hf", file + "-hf", "--chat-template", "zephyr"}).code,
            0);
  const ProgramResult folder = run_program("chat " + file + "-hf -n 2 --json", ".", "Hi\n");
  ASSERT_EQ(folder.code, 0) << folder.err;
  EXPECT_EQ(Json::parse(folder.out)["turns"][0]["prompt"],
            Json::parse(chat.out)["turns"][0]["prompt"]);
}

}  // namespace
}  // namespace isoflop::test
