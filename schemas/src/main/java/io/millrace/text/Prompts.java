package io.millrace.text;

/** What models are told, each sentence once. */
public final class Prompts {
    /** Before the passages of a context block. */
    public static final String CONTEXT = "Use these passages where they help, and cite them as [n]:\n\n";

    /** For rewordings of a question, one a line. */
    public static final String REWORD =
            "Reword the question for a search in technical documentation, twice: other words for the same"
                    + " thing, the terms that an answer would hold. Write the two rewordings on two lines and nothing else.";

    private Prompts() {}

    /** A question with its context in one text; the question as it is when there is no context. */
    public static String augmented(String context, String question) {
        return context.isEmpty() ? question : CONTEXT + context + "\n\nQuestion: " + question;
    }
}
