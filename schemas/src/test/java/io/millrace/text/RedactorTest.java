package io.millrace.text;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What counts as a secret, and what does not. Keys are put together here, so that this file holds none. */
class RedactorTest {
    @ParameterizedTest
    @CsvSource({
        "sk-proj-abcdef123456, api_key",
        "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa, anthropic_key",
        "AKIAABCDEFGHIJKLMNOP, aws_access_key",
        "ASIAABCDEFGHIJKLMNOP, aws_access_key",
        "ghs_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, github_token",
        "github_pat_aaaaaaaaaaaaaaaaaaaaaa, github_token",
        "sk_live_aaaaaaaaaaaaaaaa, stripe_key",
        "xoxb-aaaaaaaaaa, slack_token",
        "AIzaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, google_key",
        "hf_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, huggingface_token",
        "eyJaaaaaaaa.eyJaaaaaaaa.aaaaaaaa, jwt",
        "session-eyJaaaaaaaa.eyJaaaaaaaa.aaaaaaaa, jwt",
        "AWS_SECRET_ACCESS_KEY=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, aws_secret_key",
        "-----BEGIN RSA PRIVATE KEY-----aa-----END RSA PRIVATE KEY-----, private_key",
        "PWD='hunter2hunter2', password",
        "glpat-aaaaaaaaaaaaaaaaaaaaa, gitlab_token",
        "password: hunter2hunter2, password",
        "DB_PASSWORD=hunter2hunter2, password",
        "PGPASSWORD: hunter2hunter2, password",
        "postgres://me:s3cret@db/x, connection_password",
        "redis://:s3cret@cache:6379/0, connection_password",
        "AccountKey=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa==, connection_password",
        "SecretAccessKey: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, aws_secret_key",
        "xapp-1-aaaaaaaaaa, slack_token",
        "https://hooks.slack.com/services/T00000000/B00000000/aaaaaaaa, slack_token",
        "GOCSPX-aaaaaaaaaaaaaaaaaaaaaaaa, google_key",
        "Authorization: Bearer abcdefghijklmnopqrstuvwx, bearer_token",
        "Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l, basic_auth",
        "client_secret: 8f3a2b1c9d7e6f5a4b3c, api_key",
        "api_key = \"abcdefghijklmnopqrst\", api_key",
        "x-api-key: 8f3a2b1c9d7e6f5a4b3c, api_key",
        "https://host/page?access_token=8f3a2b1c9d7e6f5a, api_key",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----aa-----END PGP PRIVATE KEY BLOCK-----, private_key",
        "password=$ecr3tpassw0rd, password"
    })
    void shouldReplaceSecretsByTheirKind(String text, String kind) {
        assertThat(Redactor.redact("before " + text + " after"))
                .contains("[REDACTED:" + kind + "]")
                .startsWith("before ")
                .endsWith(" after");
    }

    /** The arguments of a tool call are JSON in a string of JSON, and what they write into a file may be JSON again. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "{'password':'hunter22x'}",
                "{'x-api-key' : 'abcdefghijklmnopqrst'}",
                "{'client_secret':'8f3a2b1c9d7e6f5a4b3c','a':1}",
                "{'aws_secret_access_key':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}",
                "{'headers':{'Authorization':'Basic YWxhZGRpbjpvcGVuc2VzYW1l'}}",
                "{'cmd':'mysql --password=hunter2hunter'}"
            })
    void shouldFindSecretsInJsonWithinJsonAndLeaveItJson(String quoted) throws IOException {
        ObjectMapper json = new ObjectMapper();
        String plain = quoted.replace('\'', '"');
        String once = json.writeValueAsString(plain);
        String twice = json.writeValueAsString(once);

        for (String text : List.of(plain, once, twice)) {
            String redacted = Redactor.redact(text);
            assertThat(redacted)
                    .contains("[REDACTED:")
                    .doesNotContain("hunter2", "abcdefgh", "8f3a2b", "aaaaaaaa", "YWxhZGRp");
            assertThat(json.readTree(redacted)).isNotNull();
        }
        assertThat(json.readTree(json.readTree(
                                        json.readTree(Redactor.redact(twice)).textValue())
                                .textValue())
                        .isObject())
                .isTrue();
    }

    /** In JSON the break before it is a backslash and a letter: the record of an answer kept such a key. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "ghp_KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK",
                "sk-proj-KKKKKKKKKKKKKKKK",
                "AKIAKKKKKKKKKKKKKKKK",
                "hf_KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK",
                "eyJKKKKKKKKKKKK.eyJKKKKKKKKKKKK.KKKKKKKKKKKK",
                "Authorization: Basic KKKKKKKKKKKK",
                "Bearer KKKKKKKKKKKKKKKKKKKKKKKK",
                "AccountKey=KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK"
            })
    void shouldFindSecretsBehindLineBreaksInJson(String secret) throws IOException {
        ObjectMapper json = new ObjectMapper();
        String once = json.writeValueAsString("```\n" + secret + "\n```\t" + secret);

        for (String text : List.of(once, json.writeValueAsString(once))) {
            assertThat(Redactor.redact(text)).contains("[REDACTED:").doesNotContain("KKKK");
        }
    }

    @Test
    void shouldLeaveWhatIsNoSecretAloneInJsonWithinJson() {
        String text = "{\"arguments\":\"{\\\"password\\\":\\\"required\\\",\\\"max_tokens\\\":100000}\"}";

        assertThat(Redactor.redact(text)).isEqualTo(text);
    }

    /** Prefix and length as their makers issue them. */
    @ParameterizedTest
    @CsvSource({
        "sk-or-v1-, 64, openrouter_key",
        "gsk_, 52, groq_key",
        "xai-, 80, xai_key",
        "hf_, 34, huggingface_token",
        "npm_, 36, npm_token",
        "pypi-AgEIcHlwaS5vcmc, 150, pypi_token",
        "SG.aaaaaaaaaaaaaaaaaaaaaa., 43, sendgrid_key",
        "whsec_, 32, webhook_secret",
        "hvs., 95, vault_token",
        "dop_v1_, 64, digitalocean_token"
    })
    void shouldKnowTheKeysOfManyMakers(String prefix, int length, String kind) {
        String key = prefix + "a1".repeat(length).substring(0, length);

        assertThat(Redactor.redact("the key is " + key + ", keep it"))
                .isEqualTo("the key is [REDACTED:" + kind + "], keep it");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "password: required",
                "password=${DB_PASSWORD}",
                "password=$DB_PASSWORD_FILE",
                "password: os.environ[\"DB_PASSWORD\"]",
                "password = os.getenv(\"DB_PASSWORD\")",
                "password: process.env.DB_PASSWORD,",
                "password: DB_PASSWORD",
                "password: {{ vault_password }}",
                "password: <your-password>",
                "password=********",
                "postgres://me:${DB_PASSWORD}@db/x",
                "api_key = \"your-api-key-here\"",
                "api_key=os.environ[\"OPENAI_API_KEY\"]",
                "api_key: the key of the provider",
                "client_secret: ${CLIENT_SECRET_2}",
                "max_tokens=4096000000000000",
                "max_tokens: 4096",
                "the tokens of a password manager",
                "passwordFile = config.age.secrets.db.path;",
                "http://[::1]:8092/query and http://host:8080/@scope",
                "https://example.com/a:b@c is odd",
                "sk-short",
                "Bearer of news"
            })
    void shouldLeaveOrdinaryTextAlone(String text) {
        assertThat(Redactor.redact(text)).isSameAs(text);
    }

    @Test
    void shouldRedactAKeyThatIsCutOffBeforeAnother() {
        String begin = "-----BEGIN RSA PRIVATE KEY-----\n";

        assertThat(Redactor.redact(begin + "MIIE-a\n" + begin + "MIIE-b\n-----END RSA PRIVATE KEY-----\nafter"))
                .isEqualTo("[REDACTED:private_key][REDACTED:private_key]\nafter");
    }

    private static final String BEGIN = "-----BEGIN RSA PRIVATE KEY-----\n";
    private static final String KEY_LINE = "MIIEpAIBAAKCAQEA1234567890abcdefghijklmnopqrstuvwxyzABCDEFG+/JKL\n";

    /** Longer than what is taken of one that has no end. */
    private static final String LOG = "2026-01-31 12:00:00 INFO the mill - wheel -- turns at seven\n".repeat(400);

    /** An armored PGP key with subkeys and a photo. */
    @Test
    void shouldRedactAKeyOfAnyLength() {
        assertThat(Redactor.redact("before " + BEGIN + KEY_LINE.repeat(500) + "-----END RSA PRIVATE KEY-----\nafter"))
                .isEqualTo("before [REDACTED:private_key]\nafter");
    }

    /** As a tool cuts it that shows some lines of a file; what comes then is no key. */
    @Test
    void shouldRedactTheLinesOfAKeyThatIsCutOffBeforeALongText() {
        String stamp = "2026-01-31T12:00:00.123456Z host app[3]: ";
        for (String key : new String[] {
            KEY_LINE.repeat(5),
            KEY_LINE.repeat(5) + "MIIEpAIB\n",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0123456789ABCDEF\n\n" + KEY_LINE.repeat(2),
            (stamp + KEY_LINE).repeat(5)
        }) {
            assertThat(Redactor.redact("before " + BEGIN + key + LOG))
                    .isEqualTo("before [REDACTED:private_key]\n" + LOG);
        }
        String json = (BEGIN + KEY_LINE.repeat(3) + "MIIEpAIB\n").replace("\n", "\\n");
        assertThat(Redactor.redact("{\"key\":\"" + json + "\"}\n" + LOG))
                .isEqualTo("{\"key\":\"[REDACTED:private_key]\\n\"}\n" + LOG);
        assertThat(Redactor.redact("A file begins with " + BEGIN + LOG)).isEqualTo("A file begins with " + BEGIN + LOG);
    }

    @ParameterizedTest
    @CsvSource({
        "password=, '', password",
        "postgres://me:, @db/x, connection_password",
        "'api_key = \"', '\"', api_key",
        "client_secret: , '', api_key"
    })
    void shouldLeaveNothingOfALongSecret(String before, String after, String kind) {
        assertThat(Redactor.redact(before + "aB1x".repeat(200) + after + " and so on"))
                .isEqualTo(before + "[REDACTED:" + kind + "]" + after + " and so on");
    }

    @Test
    void shouldStripWhatAReaderDoesNotSee() {
        assertThat(Sanitizer.sanitize("a\u0000b\u202Ec\u200Bd\te\nf")).isEqualTo("abcd\te\nf");
    }
}
