// Package privacy has roadside units tell a hub of many vehicles and of people,
// and then looks for them in all that the hub keeps and says: its directory, its
// log, its metrics and the answers of its API. None is found. Art. 15(2), 38
package privacy
