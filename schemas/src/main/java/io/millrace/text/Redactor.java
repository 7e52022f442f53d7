package io.millrace.text;

import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Replaces secrets by {@code [REDACTED:kind]}.
 *
 * <p>The kinds are those of the predecessor (its section 3.10), with key lengths as they are issued today, and those it missed: Slack,
 * Google, Stripe, Hugging Face, other providers of models and packages, any PEM or PGP private key, and passwords in connection
 * strings. Names of settings such as {@code max_tokens} are no secrets, nor is what only says where a secret comes from:
 * {@code ${DB_PASSWORD}}, {@code os.environ["KEY"]}, {@code <your-key>}.
 *
 * <p>The text is a client's, and stream threads have small stacks: a group repeats possessively or a few times, since each other
 * repetition takes a stack frame; and what may be followed by something else is possessive or bounded, so that time grows with the text.
 */
public final class Redactor {
    /**
     * @param hints in lower case; every match contains one of them: most texts have none of these, and to look for a word costs a hundredth of
     *     what it costs to try an expression at each character
     */
    private record Kind(String name, Pattern pattern, int group, List<String> hints) {}

    private static final String PRIVATE_KEY = "(?:(?!PRIVATE KEY)[A-Z0-9]{1,32}+ ){0,8}+PRIVATE KEY(?: BLOCK)?-----";

    private static final String IN_KEY = "(?:[^-]|-(?!----(?:BEGIN|END) " + PRIVATE_KEY + "))";

    /** With headers before them, and whatever a log or JSON puts between them; the last one may be a part of a line. */
    private static final String KEY_LINES = "(?:[\\s\\S]{0,120}?(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}+={0,2}+)++"
            + "(?:(?:\\s|\\\\[nr]){1,4}+[A-Za-z0-9+/]{1,39}+={0,2}+(?![^\\s\\\\\"']))?+";

    private static final String KEY_NAME =
            "(?:api[_-]?key|client[_-]?secret|(?:access|auth|refresh)[_-]?token|secret[_-]?key|app[_-]?secret)";

    /** "key" or "token" alone is in every other text about models. */
    private static final String[] KEY_HINTS = Stream.of(
                    "api key",
                    "client secret",
                    "access token",
                    "auth token",
                    "refresh token",
                    "secret key",
                    "app secret")
            .flatMap(name -> Stream.of("", "_", "-").map(joint -> name.replace(" ", joint)))
            .toArray(String[]::new);

    /**
     * What stands where a secret would, and is none: variables, calls, paths into settings, masks, words that say what is expected.
     * The value may end where a quotation mark or bracket follows.
     */
    private static final Pattern NO_SECRET = Pattern.compile(String.join(
            "|",
            // variables and templates of shells, YAML, Python, Windows
            "\\$[{(].*",
            "\\$(?:[A-Z_][A-Z0-9_]*|[a-z_]+)",
            "\\{\\{.*|\\{\\w*\\}.*|<.*|%\\(.*|%\\w+%|!(?:secret|vault|Ref|Sub)\\b.*",
            // names, calls, paths into settings, places
            "[A-Z][A-Z0-9]*+(?:_[A-Z0-9]++)++",
            "[A-Za-z_][\\w.:]*\\(.*",
            "(?:os|sys|process|env|environ|import\\.meta|config|cfg|settings|secrets?|vars?|local|data|self|this|args|options|opts|params"
                    + "|props|credentials|context|ctx|request|req|user|System)(?:\\.\\w++)++\\W*+",
            "(?:/run/|/etc/|/var/|file:|vault:|op://|arn:).*",
            // masks, and what is to be replaced
            "\\*{3,}+.*|\\.{3}.*|[xX]{4,}+.*",
            "(?i:(?:your|example|insert|enter|replace|change)[-_].*|.*[-_]here)",
            "(?i:required|optional|mandatory|passwords?|passphrase|disabled|enabled|undefined|protected|encrypted|forgotten|prompted"
                    + "|incorrect|unchanged|redacted|placeholder|secretstr|securestring)\\W*"));

    /** With a backslash or more in JSON that is a string of JSON, as the arguments of a tool call are. */
    private static final String QUOTED = "\\\\*+[\"']";

    private static final String MAYBE_QUOTED = "(?:" + QUOTED + ")?+";

    /** Of a word; in JSON a line break before it is a backslash and a letter, which joins it. */
    private static final String START = "(?:\\b|(?<=\\\\[nrtbf]))";

    private static final List<Kind> KINDS = List.of(
            kind(
                    "private_key",
                    // up to its end; of one that was cut off, up to the next key or the end of the text where that is
                    // near, else what looks like lines of a key. None is looked through for another's end
                    "-----BEGIN " + PRIVATE_KEY + "(?:" + IN_KEY + "*+-----END " + PRIVATE_KEY + "|" + IN_KEY
                            + "{0,16384}+(?:(?=-----BEGIN )|\\z)|" + KEY_LINES + ")",
                    "-----begin "),
            kind("anthropic_key", START + "sk-ant-[A-Za-z0-9_-]{16,}", "sk-ant-"),
            // the seed's own example, sk-proj-abcdef123456, has 12 characters after the prefix
            kind("api_key", START + "sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{12,}", "sk-"),
            kind("api_key", START + "sk-[A-Za-z0-9]{20,}\\b", "sk-"),
            kind("openrouter_key", START + "sk-or-v1-[0-9A-Za-z]{32,}", "sk-or-v1-"),
            kind("groq_key", START + "gsk_[A-Za-z0-9]{32,}\\b", "gsk_"),
            kind("xai_key", START + "xai-[A-Za-z0-9]{32,}\\b", "xai-"),
            kind("npm_token", START + "npm_[A-Za-z0-9]{36,}\\b", "npm_"),
            // a serialized macaroon, whose first bytes are always these
            kind("pypi_token", START + "pypi-AgE[A-Za-z0-9_-]{32,}", "pypi-age"),
            kind("sendgrid_key", START + "SG\\.[A-Za-z0-9_-]{16,32}\\.[A-Za-z0-9_-]{32,64}", "sg."),
            kind("webhook_secret", START + "whsec_[A-Za-z0-9+/]{24,}={0,2}", "whsec_"),
            kind("vault_token", START + "hv[sbr]\\.[A-Za-z0-9_-]{24,}", "hvs.", "hvb.", "hvr."),
            kind("digitalocean_token", START + "do[opr]_v1_[0-9a-f]{40,}\\b", "_v1_"),
            kind("stripe_key", START + "[rs]k_(?:live|test)_[A-Za-z0-9]{16,}\\b", "k_"),
            kind("aws_access_key", START + "(?:AKIA|ASIA)[0-9A-Z]{16}\\b", "akia", "asia"),
            value(
                    "aws_secret_key",
                    "(?i)secret_?access_?key" + MAYBE_QUOTED + "\\s*[=:]\\s*" + MAYBE_QUOTED + "([A-Za-z0-9/+]{40})",
                    "secret"),
            kind(
                    "github_token",
                    START + "(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})\\b",
                    "ghp_",
                    "gho_",
                    "ghu_",
                    "ghs_",
                    "ghr_",
                    "github_pat_"),
            kind("gitlab_token", START + "glpat-[A-Za-z0-9_-]{20,}", "glpat-"),
            kind(
                    "slack_token",
                    START + "(?:xox[abceprs]|xapp)-[A-Za-z0-9-]{10,}|" + START
                            + "hooks\\.slack\\.com/services/[A-Za-z0-9/]{20,}",
                    "xox",
                    "xapp-",
                    "hooks.slack.com"),
            kind(
                    "google_key",
                    START + "(?:AIza[0-9A-Za-z_-]{35}|GOCSPX-[0-9A-Za-z_-]{20,}|ya29\\.[0-9A-Za-z_-]{20,})",
                    "aiza",
                    "gocspx-",
                    "ya29."),
            kind("huggingface_token", START + "hf_[A-Za-z0-9]{30,}\\b", "hf_"),
            // looked for where a word begins, and only in one that has the ends of a token: each of its hyphens might
            // begin one
            value(
                    "jwt",
                    "(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]++\\.eyJ[A-Za-z0-9_-]{8,}+\\.[A-Za-z0-9_-]{8})"
                            + "[A-Za-z0-9_-]*?" + START
                            + "(eyJ[A-Za-z0-9_-]{8,}+\\.eyJ[A-Za-z0-9_-]{8,}+\\.[A-Za-z0-9_-]{8,})",
                    "eyj"),
            value("bearer_token", "(?i)" + START + "Bearer\\s+([A-Za-z0-9._~+/=-]{20,})", "bearer"),
            value(
                    "basic_auth",
                    "(?i)" + START + "Authorization" + MAYBE_QUOTED + "\\s*[=:]\\s*" + MAYBE_QUOTED
                            + "Basic\\s+([A-Za-z0-9+/]{8,}={0,2})",
                    "basic"),
            // quoted: any constant
            value(
                    "api_key",
                    "(?i)" + KEY_NAME + MAYBE_QUOTED + "\\s*[=:]\\s*" + QUOTED + "([^\\s\"'\\[]{12,}+)[\"']",
                    KEY_HINTS),
            // not quoted: prose and names of things have no digits
            value(
                    "api_key",
                    "(?i)" + KEY_NAME + MAYBE_QUOTED
                            + "\\s*[=:]\\s*(?=[A-Za-z_/+.~=-]{0,64}[0-9])([A-Za-z0-9_/+.~=-]{12,}+)",
                    KEY_HINTS),
            // Redis has no user: redis://:secret@host
            value("connection_password", START + "[a-z][a-z0-9+.-]{1,20}://[^\\s:/@]*+:([^\\s:/@]{3,}+)@", "://"),
            value(
                    "connection_password",
                    "(?i)" + START + "(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})",
                    "key="),
            // within a longer name too: DB_PASSWORD, PGPASSWORD
            value(
                    "password",
                    "(?i)(?:password|passwd|pwd)" + MAYBE_QUOTED + "\\s*[=:]\\s*" + MAYBE_QUOTED
                            + "([^\\s\"',;\\[]{8,}+)",
                    "passw",
                    "pwd"));

    /** What stands in the place of a secret begins so; its kind and a bracket follow. */
    public static final String MARK = "[REDACTED:";

    private Redactor() {}

    /** The text with every secret replaced; the same object when there is none. */
    public static String redact(String text) {
        String result = text;
        String lower = text.toLowerCase(Locale.ROOT);
        for (Kind kind : KINDS) {
            if (kind.hints.stream().noneMatch(lower::contains)) {
                continue;
            }
            Matcher matcher = kind.pattern.matcher(result);
            if (!matcher.find()) {
                continue;
            }
            StringBuilder out = new StringBuilder(result.length());
            int end = 0;
            do {
                int last = end(matcher, kind.group, result);
                if (kind.group > 0
                        && NO_SECRET
                                .matcher(result.substring(matcher.start(kind.group), last))
                                .matches()) {
                    continue;
                }
                out.append(result, end, matcher.start(kind.group))
                        .append(MARK)
                        .append(kind.name)
                        .append(']');
                end = last;
            } while (matcher.find());
            result =
                    end == 0 ? result : out.append(result, end, result.length()).toString();
        }
        return result;
    }

    /** Backslashes before the quotation mark that ends a value are the mark's: JSON within JSON has them, and is none without. */
    private static int end(Matcher matcher, int group, String text) {
        int end = matcher.end(group);
        if (end < text.length() && (text.charAt(end) == '"' || text.charAt(end) == '\'')) {
            while (end > matcher.start(group) && text.charAt(end - 1) == '\\') {
                end--;
            }
        }
        return end;
    }

    private static Kind kind(String name, String regex, String... hints) {
        return new Kind(name, Pattern.compile(regex), 0, List.of(hints));
    }

    /** A kind whose first group is the secret and whose rest names it. */
    private static Kind value(String name, String regex, String... hints) {
        return new Kind(name, Pattern.compile(regex), 1, List.of(hints));
    }
}
