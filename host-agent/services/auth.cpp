#include "host-agent/services/auth.hpp"

#include <security/pam_appl.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr std::uint64_t logins_at_once = 2;
constexpr auto refusal = "Authentication failure";

/// What PAM may ask for.
struct Answers {
    std::string current;
    std::string fresh;  // only while the password changes
    std::string told;   // the last thing PAM had to say
};

void wipe(std::string& text) {
    explicit_bzero(text.data(), text.size());
}

bool asks_for_current(std::string prompt) {
    for (char& c : prompt)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return prompt.contains("current") || prompt.contains("old ") || prompt.contains("(current)");
}

const std::string& answer_to(const pam_message& message, const Answers& answers) {
    if (answers.fresh.empty() || asks_for_current(message.msg)) return answers.current;
    return answers.fresh;
}

void release(pam_response* responses, int count) {
    for (int i = 0; i < count; ++i) {
        if (responses[i].resp == nullptr) continue;
        explicit_bzero(responses[i].resp, std::strlen(responses[i].resp));
        std::free(responses[i].resp);
    }
    std::free(responses);
}

int converse(int count, const pam_message** messages, pam_response** out, void* data) {
    auto& answers = *static_cast<Answers*>(data);
    if (count <= 0 || count > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
    auto* responses = static_cast<pam_response*>(
        std::calloc(static_cast<std::size_t>(count), sizeof(pam_response)));
    if (responses == nullptr) return PAM_BUF_ERR;
    for (int i = 0; i < count; ++i) {
        const pam_message& message = *messages[i];
        switch (message.msg_style) {
            case PAM_PROMPT_ECHO_OFF:
            case PAM_PROMPT_ECHO_ON:
                responses[i].resp = strdup(answer_to(message, answers).c_str());
                break;
            case PAM_ERROR_MSG:
            case PAM_TEXT_INFO:
                answers.told = message.msg;
                break;
            default:
                release(responses, count);
                return PAM_CONV_ERR;
        }
    }
    *out = responses;
    return PAM_SUCCESS;
}

// Instead of PAM's own sleep after a failure, which would hold a thread of the pool.
void no_delay(int, unsigned, void*) {}

/// One conversation with PAM, on one thread.
class Pam {
  public:
    Pam(const Auth::Config& config, const std::string& user, Answers answers)
        : answers_(std::move(answers)) {
        code_ = config.directory.empty()
                    ? pam_start(config.service.c_str(), user.c_str(), &conversation_, &handle_)
                    : pam_start_confdir(config.service.c_str(), user.c_str(), &conversation_,
                                        config.directory.c_str(), &handle_);
        if (code_ != PAM_SUCCESS) handle_ = nullptr;
        // Linux-PAM takes the function by the pointer of the item.
        if (handle_ != nullptr)
            pam_set_item(handle_, PAM_FAIL_DELAY, reinterpret_cast<const void*>(&no_delay));
    }

    Pam(const Pam&) = delete;
    Pam& operator=(const Pam&) = delete;

    ~Pam() {
        if (handle_ != nullptr) pam_end(handle_, code_);
        wipe(answers_.current);
        wipe(answers_.fresh);
    }

    void caller(const std::string& address) {
        if (handle_ != nullptr && !address.empty())
            pam_set_item(handle_, PAM_RHOST, address.c_str());
    }

    bool authenticate() {
        return step(pam_authenticate(handle_, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK)) &&
               step(pam_acct_mgmt(handle_, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK));
    }

    bool change(const std::string& fresh) {
        answers_.fresh = fresh;
        answers_.told.clear();
        return step(pam_chauthtok(handle_, 0));
    }

    [[nodiscard]] bool started() const { return handle_ != nullptr; }

    [[nodiscard]] std::string why() const { return pam_strerror(handle_, code_); }

    /// What a module said, or else the code's text.
    [[nodiscard]] std::string told() const { return answers_.told.empty() ? why() : answers_.told; }

  private:
    bool step(int code) {
        code_ = code;
        return code == PAM_SUCCESS;
    }

    Answers answers_;
    pam_conv conversation_{converse, &answers_};
    pam_handle_t* handle_ = nullptr;
    int code_ = PAM_SUCCESS;
};

// A text with a NUL would be cut, and so be another password than the one that was given.
void check_texts(const std::string& user, std::initializer_list<const std::string*> passwords) {
    bool whole = !user.empty() && !user.contains('\0');
    for (const std::string* password : passwords)
        whole = whole && !password->contains('\0');
    if (!whole) throw err::session_authentication_failed(user, refusal);
}

// One text for every reason: a guesser must not learn which users there are. The log has it.
void authenticate(Pam& pam, const std::string& user) {
    if (pam.started() && pam.authenticate()) return;
    log::warn("auth.refused", {{"user", user}, {"why", pam.why()}});
    throw err::session_authentication_failed(user, refusal);
}

}  // namespace

Task<void> Auth::login(std::string user, log::Secret password, std::string address) {
    check_texts(user, {&password.reveal()});
    const ObjectQueue::Lease lease =
        co_await queue_.acquire(std::to_string(turn_++ % logins_at_once));
    co_await blocking(loop_, [config = config_, user, password, address] {
        Pam pam(config, user, {.current = password.reveal()});
        pam.caller(address);
        authenticate(pam, user);
    });
}

Task<void> Auth::change_password(std::string user, log::Secret old, log::Secret fresh) {
    check_texts(user, {&old.reveal(), &fresh.reveal()});
    if (fresh.reveal().empty()) throw err::change_password_rejected("the new password is empty");
    const ObjectQueue::Lease lease = co_await queue_.acquire("change");
    co_await blocking(loop_, [config = config_, user, old, fresh] {
        Pam pam(config, user, {.current = old.reveal()});
        authenticate(pam, user);
        if (!pam.change(fresh.reveal())) throw err::change_password_rejected(pam.told());
    });
}

}  // namespace basalt::agent
