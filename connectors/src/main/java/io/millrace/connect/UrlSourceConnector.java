package io.millrace.connect;

/** See {@link UrlSourceTask}. */
public final class UrlSourceConnector extends KnowledgeConnector {
    public UrlSourceConnector() {
        super(UrlSourceTask.class);
    }
}
