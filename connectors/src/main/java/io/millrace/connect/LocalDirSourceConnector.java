package io.millrace.connect;

/** See {@link LocalDirSourceTask}. */
public final class LocalDirSourceConnector extends KnowledgeConnector {
    public LocalDirSourceConnector() {
        super(LocalDirSourceTask.class);
    }
}
