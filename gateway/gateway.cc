// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/byte_units.h"
#include "common/base/log.h"
#include "gateway/bad_input_log.h"
#include "gateway/core/message_reader.h"
#include "gateway/core/request.h"
#include "gateway/dispatcher.h"

namespace ballast::gateway {
namespace {

constexpr size_t kReadBytes = KiB(256);
constexpr size_t kOutputBytesMax = KiB(64);
// How often a slow message is looked for while nothing is read.
constexpr absl::Duration kTick = absl::Milliseconds(100);

bool SayBadInput(uint64_t line, absl::string_view problem, uint64_t unsaid) {
  if (!HasRoom(2)) {
    return false;  // nobody reads standard error: that must not hold the messages up
  }
  if (unsaid > 0) {
    LogWarning("gateway.bad_input", {{"line", line}, {"problem", problem}, {"unsaid", unsaid}});
  } else {
    LogWarning("gateway.bad_input", {{"line", line}, {"problem", problem}});
  }
  return true;
}

// The thread that reads.
class InputPump : public ReaderSink {
 public:
  InputPump(const GatewayOptions& options, BackendStarter& backend, Clock& clock,
            const StopEvent& stop, Inbox& inbox)
      : input_(options.input_fd, stop),
        stop_(stop),
        backend_(backend),
        clock_(clock),
        inbox_(inbox),
        bad_input_(SayBadInput) {}

  // Until the end of input, or stopped. The inbox is closed or stopped then.
  absl::Status Run() {
    const absl::Status status = ReadAll();
    if (status.ok() && !stop_.IsSet()) {
      reader_.Finish(*this);
      inbox_.Close();
    } else {
      inbox_.Stop();
    }
    bad_input_.End();
    return status;
  }

  void OnValue(std::string text, uint64_t line) override {
    const size_t bytes = text.size();
    // Before it is parsed, which takes more memory than the text.
    if (WaitForRoom(bytes)) {
      Take(ParseMessage(std::move(text)), bytes, line);
    }
  }

  void OnBadValue(absl::string_view problem, const EnvelopeFacts& facts, uint64_t line) override {
    const size_t bytes = facts.src.literal.size() + facts.dest.literal.size();
    if (WaitForRoom(bytes)) {
      Take(RefuseBadValue(problem, facts), bytes, line);
    }
  }

 private:
  absl::Status ReadAll() {
    const auto buffer = std::make_unique<char[]>(kReadBytes);
    for (;;) {
      switch (input_.Wait(inbox_.IsIdle() ? absl::InfiniteDuration() : kTick)) {
        case InputStream::Ready::kStopped:
          return absl::OkStatus();
        case InputStream::Ready::kTimeout:
          TouchOverdue();
          continue;
        case InputStream::Ready::kInput:
          break;
      }
      const auto got = input_.Read(absl::MakeSpan(buffer.get(), kReadBytes));
      if (!got.ok()) {
        return absl::IsCancelled(got.status()) ? absl::OkStatus() : got.status();
      }
      if (*got == 0) {
        return absl::OkStatus();
      }
      read_at_ = clock_.SteadyNow();
      reader_.Feed(absl::string_view(buffer.get(), *got), *this);
      TouchOverdue();
    }
  }

  // False: stopped.
  bool WaitForRoom(size_t bytes) {
    while (!inbox_.WaitForRoom(bytes, kTick)) {
      if (stop_.IsSet()) {
        return false;
      }
      TouchOverdue();
    }
    return true;
  }

  void Take(ParsedMessage parsed, size_t bytes, uint64_t line) {
    if (const auto* nobody = std::get_if<Unanswerable>(&parsed); nobody != nullptr) {
      bad_input_.Note(line, nobody->text, read_at_);
      return;
    }
    inbox_.Put({std::get<Message>(std::move(parsed)), read_at_, bytes});
  }

  void TouchOverdue() {
    if (ClusterBackend* cluster = backend_.IfReady(); cluster != nullptr) {
      for (const std::string& server : inbox_.TakeOverdue(clock_.SteadyNow())) {
        if (stop_.IsSet()) {
          return;  // a cluster that does not answer takes its time for each
        }
        cluster->Touch(server);
      }
    }
  }

  InputStream input_;
  const StopEvent& stop_;
  BackendStarter& backend_;
  Clock& clock_;
  Inbox& inbox_;
  MessageReader reader_;
  BadInputLog bad_input_;
  SteadyTime read_at_;
};

// The caller's thread: until there is no more to do, it is stopped, or the output broke.
absl::Status WorkOff(Inbox& inbox, Dispatcher& dispatcher, Clock& clock, OutputStream& output,
                     const StopEvent& stop) {
  while (!stop.IsSet()) {
    const auto item = inbox.Take();
    if (!item.has_value()) {
      break;
    }
    inbox.Begin(clock.SteadyNow());
    absl::Status written;
    if (NeedsCluster(item->message.request)) {
      written = output.Flush();
    }
    if (written.ok()) {
      output.Append(dispatcher.Handle(item->message, item->read_at));
    }
    if (!inbox.HasWaiting() || output.waiting() >= kOutputBytesMax) {
      written = output.Flush();
    }
    inbox.Done();
    if (!written.ok()) {
      return written;
    }
  }
  return output.Flush();
}

}  // namespace

int RunGateway(const GatewayOptions& options, BackendStarter& backend, Clock& clock,
               StopEvent& stop) {
  Inbox inbox(options.inbox);
  InputPump pump(options, backend, clock, stop, inbox);
  absl::Status input;
  std::thread reader([&] { input = pump.Run(); });
  Dispatcher dispatcher([&backend] { return backend.Wait(); }, clock);
  OutputStream output(options.output_fd);
  const absl::Status written = WorkOff(inbox, dispatcher, clock, output, stop);
  if (!written.ok()) {
    stop.Set();
  }
  reader.join();
  int exit_code = 0;
  for (const absl::Status& status : {input, written}) {
    if (!status.ok()) {
      LogError("gateway.stream_broke", {{"error", std::string(status.message())}});
      exit_code = 1;
    }
  }
  return exit_code;
}

}  // namespace ballast::gateway
