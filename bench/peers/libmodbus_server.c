/* libmodbus_server: libmodbus as its own examples use it, one client after another, 1000 holding registers. */
#include <arpa/inet.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REGISTERS = 1000, INITIAL = 17 };

int main(void)
{
    modbus_t *server = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *table = modbus_mapping_new(0, 0, REGISTERS, 0);
    int door = server && table ? modbus_tcp_listen(server, 8) : -1;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (door < 0 || getsockname(door, (struct sockaddr *)&address, &size)) {
        perror("libmodbus_server");
        return 1;
    }
    for (int i = 0; i < REGISTERS; i++)
        table->tab_registers[i] = INITIAL;
    printf("listening: modbus 127.0.0.1:%d\nready\n", ntohs(address.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(server, &door) >= 0) {
        uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
        int length;
        while ((length = modbus_receive(server, request)) >= 0)
            modbus_reply(server, request, length, table);
        modbus_close(server);
    }
    perror("libmodbus_server");
    return 1;
}
