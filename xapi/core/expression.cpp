#include "xapi/core/expression.hpp"

#include <optional>

#include "idl/errors.hpp"

namespace basalt::core {

namespace {

constexpr int depth_max = 200;
constexpr std::size_t text_max = std::size_t{64} * 1024;
// What the parser that clients know says.
constexpr const char* syntax_reason = "Xapi_database.Db_filter_parse.MenhirBasics.Error";

enum class Kind { constant, negation, conjunction, disjunction, equality };

struct Operand {
    bool is_field = false;
    std::string text;
};

}  // namespace

struct Expression::Node {
    Kind kind = Kind::constant;
    bool value = false;
    std::unique_ptr<const Node> left;
    std::unique_ptr<const Node> right;
    Operand a;
    Operand b;
};

namespace {

using Node = Expression::Node;
using NodePtr = std::unique_ptr<const Node>;

class Parser {
  public:
    explicit Parser(std::string_view text) : whole_(text), rest_(text) {
        if (text.size() > text_max) fail();
    }

    NodePtr parse() {
        NodePtr node = disjunction(0);
        skip_space();
        if (!rest_.empty()) fail();
        return node;
    }

  private:
    [[noreturn]] void fail() const { throw err::invalid_value(whole_, syntax_reason); }

    void skip_space() {
        const std::size_t at = rest_.find_first_not_of(" \t\r\n");
        rest_.remove_prefix(at == std::string_view::npos ? rest_.size() : at);
    }

    bool take_symbol(char symbol) {
        skip_space();
        if (!rest_.starts_with(symbol)) return false;
        rest_.remove_prefix(1);
        return true;
    }

    bool take_word(std::string_view word) {
        skip_space();
        if (!rest_.starts_with(word)) return false;
        const char next = rest_.size() > word.size() ? rest_[word.size()] : ' ';
        if ((next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z') || next == '_')
            return false;
        rest_.remove_prefix(word.size());
        return true;
    }

    std::optional<std::string> take_text() {
        skip_space();
        if (rest_.empty() || (rest_.front() != '"' && rest_.front() != '\'')) return std::nullopt;
        const char quote = rest_.front();
        std::string text;
        for (std::size_t i = 1; i < rest_.size(); ++i) {
            if (rest_[i] == '\\' && i + 1 < rest_.size()) {
                text += rest_[++i];
            } else if (rest_[i] == quote) {
                rest_.remove_prefix(i + 1);
                return text;
            } else {
                text += rest_[i];
            }
        }
        fail();
    }

    NodePtr disjunction(int depth) {
        NodePtr left = primary(depth);
        for (;;) {
            Kind kind = Kind::constant;
            if (take_word("and")) kind = Kind::conjunction;
            if (kind == Kind::constant && take_word("or")) kind = Kind::disjunction;
            if (kind == Kind::constant) return left;
            auto node = std::make_unique<Node>();
            node->kind = kind;
            node->left = std::move(left);
            node->right = primary(depth);
            left = std::move(node);
        }
    }

    NodePtr primary(int depth) {
        if (depth > depth_max) fail();
        if (take_symbol('(')) {
            NodePtr inner = disjunction(depth + 1);
            if (!take_symbol(')')) fail();
            return inner;
        }
        auto node = std::make_unique<Node>();
        if (take_word("not")) {
            node->kind = Kind::negation;
            node->left = primary(depth + 1);
            return node;
        }
        if (take_word("true")) {
            node->value = true;
            return node;
        }
        if (take_word("false")) return node;
        node->kind = Kind::equality;
        node->a = operand();
        if (!take_symbol('=')) fail();
        node->b = operand();
        return node;
    }

    Operand operand() {
        const bool is_field = take_word("field");
        std::optional<std::string> text = take_text();
        if (!text) fail();
        return {is_field, std::move(*text)};
    }

    std::string whole_;
    std::string_view rest_;
};

struct Subject {
    const xenapi::ClassInfo& cls;
    const Uuid& ref;
    const void* record;
};

std::string text_of(const Operand& operand, const Subject& subject) {
    if (!operand.is_field) return operand.text;
    if (operand.text == "ref" || operand.text == "_ref") return xenapi::ref_text(subject.ref);
    const xenapi::FieldInfo* field = subject.cls.field_by_db_name(operand.text);
    if (field == nullptr) throw ApiError("INTERNAL_ERROR", {"missing field", operand.text, ""});
    return field->type->db_text(field->in(subject.record));
}

bool evaluate(const Node& node, const Subject& subject) {
    switch (node.kind) {
        case Kind::constant:
            return node.value;
        case Kind::negation:
            return !evaluate(*node.left, subject);
        case Kind::conjunction:
            return evaluate(*node.left, subject) && evaluate(*node.right, subject);
        case Kind::disjunction:
            return evaluate(*node.left, subject) || evaluate(*node.right, subject);
        case Kind::equality:
            return text_of(node.a, subject) == text_of(node.b, subject);
    }
    return false;
}

}  // namespace

Expression::Expression(std::string_view text) : root_(Parser(text).parse()) {}

Expression::~Expression() = default;

bool Expression::holds(const xenapi::ClassInfo& cls, const Uuid& ref, const void* record) const {
    return evaluate(*root_, {cls, ref, record});
}

}  // namespace basalt::core
