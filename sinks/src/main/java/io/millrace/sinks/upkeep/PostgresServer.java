package io.millrace.sinks.upkeep;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;

/** The PostgreSQL that is asked. One that stops without a word, as a frozen one does, holds nobody for ever. */
record PostgresServer(String url, String user, String password) {
    private static final int LOGIN_SECONDS = 3;

    /** @param patienceSeconds for each thing that is asked; the connection itself is there, or not, after 3 s */
    Connection connect(int patienceSeconds) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        properties.setProperty("ApplicationName", "millrace-upkeep");
        properties.setProperty("loginTimeout", Integer.toString(LOGIN_SECONDS));
        // the server ends what it can; one that does not even do that is found out a second later
        properties.setProperty("options", "-c statement_timeout=" + patienceSeconds + "s");
        properties.setProperty("socketTimeout", Integer.toString(patienceSeconds + 1));
        return DriverManager.getConnection(url, properties);
    }
}
