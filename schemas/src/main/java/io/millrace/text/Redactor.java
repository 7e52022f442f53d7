package io.millrace.text;

import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Replaces secrets by {@code [REDACTED:kind]}.
 *
 * <p>The kinds are those of the predecessor (its section 3.10), with key lengths as they are issued today, and those it missed: Slack,
 * Google, Stripe, Hugging Face, any PEM private key, and passwords in connection strings. Names of settings such as
 * {@code max_tokens} are no secrets.
 */
public final class Redactor {
    /**
     * @param hints in lower case; every match contains one of them: most texts have none of these, and to look for a word costs a hundredth of
     *     what it costs to try an expression at each character
     */
    private record Kind(String name, Pattern pattern, int group, List<String> hints) {}

    private static final List<Kind> KINDS = List.of(
            kind(
                    "private_key",
                    "-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----[\\s\\S]{0,16384}?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\\z)",
                    "-----begin "),
            kind("anthropic_key", "\\bsk-ant-[A-Za-z0-9_-]{16,}", "sk-ant-"),
            // the seed's own example, sk-proj-abcdef123456, has 12 characters after the prefix
            kind("api_key", "\\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{12,}", "sk-"),
            kind("api_key", "\\bsk-[A-Za-z0-9]{20,}\\b", "sk-"),
            kind("stripe_key", "\\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}\\b", "k_"),
            kind("aws_access_key", "\\b(?:AKIA|ASIA)[0-9A-Z]{16}\\b", "akia", "asia"),
            value("aws_secret_key", "(?i)secret_?access_?key[\"']?\\s*[=:]\\s*[\"']?([A-Za-z0-9/+]{40})", "secret"),
            kind(
                    "github_token",
                    "\\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})\\b",
                    "ghp_",
                    "gho_",
                    "ghu_",
                    "ghs_",
                    "ghr_",
                    "github_pat_"),
            kind("gitlab_token", "\\bglpat-[A-Za-z0-9_-]{20,}", "glpat-"),
            kind(
                    "slack_token",
                    "\\b(?:xox[abceprs]|xapp)-[A-Za-z0-9-]{10,}|\\bhooks\\.slack\\.com/services/[A-Za-z0-9/]{20,}",
                    "xox",
                    "xapp-",
                    "hooks.slack.com"),
            kind(
                    "google_key",
                    "\\b(?:AIza[0-9A-Za-z_-]{35}|GOCSPX-[0-9A-Za-z_-]{20,}|ya29\\.[0-9A-Za-z_-]{20,})",
                    "aiza",
                    "gocspx-",
                    "ya29."),
            kind("huggingface_token", "\\bhf_[A-Za-z0-9]{30,}\\b", "hf_"),
            kind("jwt", "\\beyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}", "eyj"),
            value("bearer_token", "(?i)\\bBearer\\s+([A-Za-z0-9._~+/=-]{20,})", "bearer"),
            // Redis has no user: redis://:secret@host
            value("connection_password", "\\b[a-z][a-z0-9+.-]{1,20}://[^\\s:/@]{0,64}:([^\\s:/@]{3,128})@", "://"),
            value("connection_password", "(?i)\\b(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})", "key="),
            // within a longer name too: DB_PASSWORD, PGPASSWORD
            value(
                    "password",
                    "(?i)(?:password|passwd|pwd)[\"']?\\s*[=:]\\s*[\"']?([^\\s\"',;\\[]{8,128})",
                    "passw",
                    "pwd"));

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
                out.append(result, end, matcher.start(kind.group))
                        .append("[REDACTED:")
                        .append(kind.name)
                        .append(']');
                end = matcher.end(kind.group);
            } while (matcher.find());
            result = out.append(result, end, result.length()).toString();
        }
        return result;
    }

    private static Kind kind(String name, String regex, String... hints) {
        return new Kind(name, Pattern.compile(regex), 0, List.of(hints));
    }

    /** A kind whose first group is the secret and whose rest names it. */
    private static Kind value(String name, String regex, String... hints) {
        return new Kind(name, Pattern.compile(regex), 1, List.of(hints));
    }
}
